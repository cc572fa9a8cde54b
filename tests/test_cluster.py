"""Two workers of a cluster, each a real process: they train the same weights, stop together, resume, and fall together."""

import json
import multiprocessing
import os
import signal
import socket
import sys

import keras
import pytest

from seghgan_tf.training import cluster
from seghgan_tf.training import run as training
from seghgan_tf.training.workdir import load_run, read_history
from tests.test_training import changed, tiny_run
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


class Signalled(keras.callbacks.Callback):
    """Sends its process a signal in the step that comes after `done` ones."""

    def __init__(self, done, number):
        super().__init__()
        self.done, self.number = done, number

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.steps_done == self.done:
            os.kill(os.getpid(), self.number)


def work(config, folder, addresses, index, callbacks):
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    try:
        training.train(config, folder, callbacks=callbacks)
    except training.TrainingStopped as stopped:
        sys.exit(stopped.exit_status)


def statuses_of_two(config, folder, *callbacks):
    """Train in two processes, the second with callbacks, and return their exit statuses; the chief is the first."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = [
        processes.Process(target=work, args=(config, folder, addresses, index, given))
        for index, given in enumerate(((), callbacks))
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(600)
        return [worker.exitcode for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "drawn"
    draw_dataset(folder, 16, 4, 4, 64, 3)
    short = {"training.batch_size": 4, "training.evaluate_every": 2, "training.validation_batches": 1}
    return tiny_run(folder, **short, **{"model.segmenter_steps": 4, "training.steps": 6})


@pytest.mark.slow
def test_two_workers_train_stop_together_and_resume(config, tmp_path):
    stop = Signalled(2, signal.SIGTERM)  # of one worker alone
    assert statuses_of_two(config, tmp_path, stop) == [128 + signal.SIGTERM] * 2
    assert load_run(tmp_path).steps_done == 3
    assert [line["step"] for line in read_history(tmp_path)] == [2]
    assert statuses_of_two(config, tmp_path) == [0, 0]
    assert load_run(tmp_path).steps_done == 6
    assert [line["step"] for line in read_history(tmp_path)] == [2, 4, 6], "one worker alone writes the history"


@pytest.mark.slow
def test_when_a_worker_dies_the_other_ends_with_an_error(config, tmp_path):
    lone = changed(config, steps=4)
    die = Signalled(3, signal.SIGKILL)  # once the chief has saved its second step
    first, second = statuses_of_two(lone, tmp_path, die)
    assert second == -signal.SIGKILL
    assert first not in (0, None)
    assert load_run(tmp_path).steps_done == 2
