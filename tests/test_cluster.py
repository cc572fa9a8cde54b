"""Two workers of a cluster, each a real process: they train the same weights, stop together, resume, and fall together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from seghgan_tf.training import cluster
from seghgan_tf.training.workdir import load_run, read_history
from tests.conftest import ROOT, TINY
from tfrecords_tools.draw import draw_dataset

POD = {"JOB_COMPLETION_INDEX": "1", "SEGHGAN_WORKERS": "2", "SEGHGAN_WORKER_DNS": "train-{index}.train"}


def test_an_indexed_job_becomes_a_tf_config():
    pod = POD | {"SEGHGAN_WORKER_PORT": "2300"}
    assert cluster.announce(pod)
    assert json.loads(pod["TF_CONFIG"]) == {
        "cluster": {"worker": ["train-0.train:2300", "train-1.train:2300"]},
        "task": {"type": "worker", "index": 1},
    }


def test_a_tf_config_that_is_set_wins():
    given = json.dumps({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}})
    pod = POD | {"TF_CONFIG": given}
    assert cluster.announce(pod)
    assert pod["TF_CONFIG"] == given


def test_no_cluster_is_named_by_an_empty_environment():
    assert not cluster.announce({})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX"),
        ({"SEGHGAN_WORKERS": "two"}, "SEGHGAN_WORKERS"),
        ({"SEGHGAN_WORKER_DNS": "train"}, r"\{index\}"),
    ],
)
def test_a_contradictory_environment_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        cluster.announce(POD | wrong)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_workers(records, workdir, steps, segmenter_steps=0):
    """Start two workers of one run, without local networks to save tracing; the chief is the first."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    settings = {name: value for name, value in TINY.items() if name != "image_size"}
    settings |= {"segmenter_steps": segmenter_steps, "paired_steps": 0, "regions": "none"}
    command = [
        sys.executable, "-c", "from seghgan_tf.cli import main; main()", "train", "--config=drawn-64",
        f"--workdir={workdir}", f"--expression={records}", "--set=training.batch_size=4",
        f"--set=training.steps={steps}", "--set=training.evaluate_every=2", "--set=training.validation_batches=1",
        *(f"--set=model.{name}={value}" for name, value in settings.items()),
    ]  # fmt: skip
    return [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}})},
        )
        for i in range(2)
    ]  # fmt: skip


def finish(workers):
    """Wait for both; return their outputs and exit statuses."""
    try:
        return [worker.communicate(timeout=600)[0] for worker in workers], [worker.returncode for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "drawn"
    draw_dataset(folder, 16, 4, 4, 64, 3)
    return folder


def wait_for_history(workdir, workers):
    deadline = time.monotonic() + 600
    while (
        not read_history(workdir) and time.monotonic() < deadline and all(worker.poll() is None for worker in workers)
    ):
        time.sleep(0.3)


@pytest.mark.slow
def test_two_workers_train_stop_together_and_resume(records, tmp_path):
    workdir = tmp_path / "run"
    workers = start_workers(records, workdir, 100_000)
    wait_for_history(workdir, workers)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    said, statuses = finish(workers)
    assert statuses == [128 + signal.SIGTERM] * 2, said[0][-1500:] + said[1][-1500:]
    stopped_at = load_run(workdir).steps_done
    assert stopped_at >= read_history(workdir)[-1]["step"] >= 2
    said, statuses = finish(start_workers(records, workdir, stopped_at + 2))
    assert statuses == [0, 0], said[0][-1500:] + said[1][-1500:]
    assert load_run(workdir).steps_done == stopped_at + 2
    steps = [line["step"] for line in read_history(workdir)]
    assert steps == sorted(set(steps)), "one worker alone writes the history"


@pytest.mark.slow
def test_when_a_worker_dies_the_other_ends_with_an_error(records, tmp_path):
    workdir = tmp_path / "run"
    workers = start_workers(records, workdir, 100_000, segmenter_steps=100_000)
    wait_for_history(workdir, workers)
    workers[1].kill()
    said, statuses = finish(workers)
    assert statuses[0] not in (0, None), said[0][-1500:]
    assert load_run(workdir).steps_done >= 2
