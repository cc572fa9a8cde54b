"""Training for real: every kind of model learns, saves and resumes; a run that is killed again and again ends as if it never was."""

import json
import multiprocessing
import os
import random
import signal
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.export import float32_copy
from seghgan_tf.training import run as training
from seghgan_tf.training import workdir
from tests.test_model import make_batch, make_model
from tests.test_training import changed, tiny_run
from tfrecords_tools.draw import draw_dataset

SEED = 20


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "drawn"
    draw_dataset(folder, 16, 4, 4, 64, 3)
    return folder


def twenty_steps(records, **settings):
    """The configuration of two steps of the segmenter and twenty of everything."""
    stages = {"model.segmenter_steps": 2, "training.steps": 22, "training.evaluate_every": 10}
    return tiny_run(records, **stages, **{"training.batch_size": 4}, **settings)


def begin(config, folder):
    """Train the segmenter's own stage."""
    assert training.train(changed(config, steps=2), folder).steps_done == 2


def go_on(config, folder):
    """Train everything, from what `begin` saved; returns the model."""
    trained = training.train(config, folder)
    assert trained.steps_done == 22
    first, last = workdir.read_history(folder)[1:]
    assert (first["step"], last["step"]) == (12, 22)
    for name in ("segmentation", "val_segmentation", "critic_expression"):
        assert last[name] < first[name], name
    return trained


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"model.segmenter": "bisenet"}, {"model.precision": "mixed_bfloat16"}],
    ids=["bisenet", "mixed_bfloat16"],
)
def test_it_learns_saves_and_resumes(records, tmp_path, settings):
    config = twenty_steps(records, **settings)
    begin(config, tmp_path)
    trained = go_on(config, tmp_path)
    resumed = training.resume(changed(config, steps=23), tmp_path)
    assert resumed.steps_done == 22
    for before, after in zip(trained.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, after, err_msg=before.path)
    assert resumed.generator.get_layer("full_conv").dtype_policy.name == config.model.precision
    assert float32_copy(resumed).generator.get_layer("full_conv").compute_dtype == "float32"


def in_two_replicas(train, config, folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        train(config, folder)


@pytest.fixture(scope="module")
def processes():
    """How to start processes that have imported TensorFlow already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.slow
def test_two_replicas_learn_save_and_resume(records, tmp_path, processes):
    for train in (begin, go_on):
        process = processes.Process(target=in_two_replicas, args=(train, twenty_steps(records), tmp_path))
        process.start()
        process.join()
        assert process.exitcode == 0


def equal_in_one_and_three_replicas():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
    weights = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1", "CPU:2"]):
        with tf.distribute.MirroredStrategy(devices).scope():
            model = make_model(lambda: keras.optimizers.SGD(1e-4), regions="none", segmenter="one-layer")
            start = model.get_weights()
        data = tf.data.Dataset.from_tensor_slices(make_batch(8)).batch(8, drop_remainder=True).repeat()
        model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, three in zip(*weights, strict=True):
        np.testing.assert_allclose(one, three, atol=2e-5)
    assert max(np.abs(a - b).max() for a, b in zip(weights[0], start, strict=True)) > 1e-4, "nothing was trained"


@pytest.mark.slow
def test_three_replicas_of_a_batch_of_eight_equal_one(processes):
    process = processes.Process(target=equal_in_one_and_three_replicas)
    process.start()
    process.join()
    assert process.exitcode == 0


class Killer(keras.callbacks.Callback):
    """Kill the process `delay` seconds after its `steps`-th step from `first` on."""

    def __init__(self, first, steps, delay):
        super().__init__()
        self.first, self.steps, self.delay = first, steps, delay

    def on_train_batch_end(self, batch, logs=None):
        if self.model.steps_done - self.first == self.steps:
            threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()


def train_until_killed(config, folder, steps, delay):
    first = max([int(path.stem.removeprefix("step-")) for path in workdir.checkpoints(folder)], default=0)
    training.train(config, folder, callbacks=(Killer(first, steps, delay),))


@pytest.mark.slow
def test_twenty_kills_leave_the_weights_and_the_history_of_a_run_that_was_left_alone(records, tmp_path, processes):
    settings = {"model.segmenter_steps": 90, "training.steps": 96, "training.evaluate_every": 3}
    config = tiny_run(records, **settings, **{"model.segmenter": "unet", "model.image_size": 64})
    chance = random.Random(SEED)
    for _ in range(20):
        arguments = (config, tmp_path / "killed", chance.randint(1, 8), chance.uniform(0.0, 0.2))
        process = processes.Process(target=train_until_killed, args=arguments)
        process.start()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
    killed, whole = training.train(config, tmp_path / "killed"), training.train(config, tmp_path / "whole")
    for one, other in zip(
        [*killed.weights, *killed.optimizer.variables], [*whole.weights, *whole.optimizer.variables], strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    histories = [workdir.read_history(tmp_path / name) for name in ("killed", "whole")]
    assert [line["step"] for line in histories[0]] == list(range(3, 97, 3))
    for history in histories:
        seconds = [line.pop("seconds") for line in history]
        assert seconds == sorted(seconds)
    assert json.dumps(histories[0]) == json.dumps(histories[1])
