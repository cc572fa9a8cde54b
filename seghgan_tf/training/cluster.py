"""The cluster a run trains in: TensorFlow's TF_CONFIG, made from a Kubernetes Indexed Job's environment where it is absent."""

import json
import os
from collections.abc import MutableMapping

import tensorflow as tf

PORT = 2222


def announce(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Return whether `environment` names a cluster; an Indexed Job's is written into its TF_CONFIG, one that is set wins.

    An Indexed Job gives JOB_COMPLETION_INDEX; its manifest gives SEGHGAN_WORKERS (how many), SEGHGAN_WORKER_DNS (a name
    with `{index}` in it) and, if it is not 2222, SEGHGAN_WORKER_PORT. Raises ValueError where these contradict each other.

    >>> pod = {"JOB_COMPLETION_INDEX": "1", "SEGHGAN_WORKERS": "2", "SEGHGAN_WORKER_DNS": "train-{index}.train"}
    >>> announce(pod), json.loads(pod["TF_CONFIG"])["cluster"]["worker"]
    (True, ['train-0.train:2222', 'train-1.train:2222'])
    """
    if "TF_CONFIG" not in environment and "SEGHGAN_WORKERS" in environment:
        environment["TF_CONFIG"] = json.dumps(_indexed_job(environment))
    return "cluster" in json.loads(environment.get("TF_CONFIG") or "{}")


def _indexed_job(environment: MutableMapping[str, str]) -> dict[str, object]:
    count, index = environment["SEGHGAN_WORKERS"], environment.get("JOB_COMPLETION_INDEX", "")
    if not (count.isdigit() and index.isdigit() and int(index) < int(count)):
        raise ValueError(
            "`SEGHGAN_WORKERS` must be the number of workers and `JOB_COMPLETION_INDEX` below it, because each pod of an "
            f"Indexed Job is one worker. Received: {count!r} and {index!r}"
        )
    name, port = environment.get("SEGHGAN_WORKER_DNS", ""), environment.get("SEGHGAN_WORKER_PORT", str(PORT))
    if "{index}" not in name:
        raise ValueError(
            "`SEGHGAN_WORKER_DNS` must hold {index}, as in train-{index}.train, because each worker has a name of its own. "
            f"Received: {name!r}"
        )
    workers = [f"{name.replace('{index}', str(i))}:{port}" for i in range(int(count))]
    return {"cluster": {"worker": workers}, "task": {"type": "worker", "index": int(index)}}


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process writes checkpoints and history: the chief, or the first worker where there is none."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type in (None, "chief"):
        return True
    return resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs


def agree(strategy: tf.distribute.Strategy, wish: bool) -> bool:
    """Return whether any worker has the wish; every worker must ask at the same step."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return wish
    return bool(strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(int(wish)), axis=None) > 0)
