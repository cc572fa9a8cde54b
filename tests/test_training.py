"""A run in a work folder: trains, resumes, stops plainly, refuses to mix."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from seghgan_tf.config import read_config
from seghgan_tf.evaluation.figures import evaluate_run
from seghgan_tf.training import recorder
from seghgan_tf.training import run as training
from tests.conftest import ROOT, TINY
from tfrecords_tools.draw import draw_dataset


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "drawn"
    draw_dataset(folder, 12, 4, 4, 64, 3)
    return folder


def tiny_run(records, **settings):
    """The configuration of a short run of a tiny model, without local networks to save tracing."""
    tiny = {"model." + name: value for name, value in TINY.items() if name != "image_size"} | {"model.regions": "none"}
    values = (
        tiny
        | {"training.batch_size": 2, "training.steps": 3, "training.evaluate_every": 2, "model.segmenter_steps": 1}
        | settings
    )
    overrides = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    return read_config("drawn-64", (*overrides, f"data.expression={json.dumps([str(records)])}"))


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    config = tiny_run(records)
    return config, workdir, training.train(config, workdir)


def test_a_run_leaves_checkpoint_history_pictures_and_configuration(finished):
    config, workdir, model = finished
    assert model.steps_done == 3
    lines = [json.loads(line) for line in (workdir / recorder.HISTORY_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert {"val_miou", "val_paired", "gan_gradient_norm"} <= set(lines[-1])
    assert training.read_run(workdir) == config
    assert list((workdir / "tensorboard").glob("events*"))


def test_a_checkpoint_holds_weights_and_moments(finished):
    _, workdir, model = finished
    loaded = training.load_model(workdir / training.CHECKPOINT)
    for expected, got in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, got)
    assert loaded.steps_done == 3
    assert {o.name: int(o.iterations) for o in loaded.optimizer.optimizers} == {
        "critic": 2,
        "generator": 2,
        "segmenter": 3,
    }


def test_a_finished_run_has_nothing_left_to_train(finished):
    config, workdir, _ = finished
    said = []
    training.train(config, workdir, report=said.append)
    assert "nothing left" in said[0]


def test_a_run_goes_on_where_it_was_cut(finished, tmp_path):
    config, finished_at, _ = finished
    workdir = shutil.copytree(finished_at, tmp_path / "run")
    longer = config.model_copy(update={"training": config.training.model_copy(update={"steps": 4})})
    assert training.train(longer, workdir).steps_done == 4


def test_a_work_folder_of_another_model_is_refused(finished, records):
    _, workdir, _ = finished
    other = tiny_run(records, **{"model.dilation": 0.1})
    with pytest.raises(ValueError, match="dilation"):
        training.train(other, workdir)


def test_the_figures_of_a_run_cover_segmentation_edits_and_expressions(finished):
    config, workdir, _ = finished
    figures = evaluate_run(training.load_model(workdir / training.CHECKPOINT), training.streams(config, "test"))
    assert 0 <= figures["miou"] <= 1
    assert {"error_ratio", "outside_change", "expression_error", "asked_error"} <= set(figures)


class Poison(keras.callbacks.Callback):
    """Makes a weight NaN after the first step."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.segmenter.trainable_variables[0].assign(
            np.full(self.model.segmenter.trainable_variables[0].shape, np.nan)
        )


def test_nan_stops_plainly_and_keeps_the_last_good_state(records, tmp_path):
    config = tiny_run(records, **{"model.segmenter_steps": 6, "training.steps": 6, "training.evaluate_every": 2})
    training.train(
        config.model_copy(update={"training": config.training.model_copy(update={"steps": 2})}), tmp_path / "run"
    )
    with pytest.raises(training.TrainingStopped, match=r"NaN at step.*learning_rate"):
        training.train(config, tmp_path / "run", callbacks=(Poison(),))
    model = training.load_model(tmp_path / "run" / training.CHECKPOINT)
    assert model.steps_done == 2
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_resumes(records, tmp_path):
    workdir = tmp_path / "run"
    tiny = [f"--set=model.{name}={value}" for name, value in TINY.items() if name != "image_size"]
    steps = [
        "--set=model.regions=none",
        "--set=model.segmenter_steps=100000",
        "--set=training.steps=100000",
        "--set=training.evaluate_every=100000",
        "--set=training.batch_size=2",
    ]
    command = [
        sys.executable,
        "-c",
        "from seghgan_tf.cli import main; main()",
        "train",
        "--config=drawn-64",
        f"--workdir={workdir}",
        f"--expression={records}",
    ]
    with subprocess.Popen(
        [*command, *tiny, *steps],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list(workdir.glob("tensorboard/events*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(5)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors[-500:]
    assert "the same command goes on" in errors
    assert training.load_model(workdir / training.CHECKPOINT).steps_done > 0


def test_a_missing_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="seghgan train"):
        training.read_run(tmp_path)
    with pytest.raises(ValueError, match="seghgan train"):
        training.load_model(tmp_path / training.CHECKPOINT)


def test_resnet_weights_need_a_bisenet_and_a_preset_folder(tmp_path):
    model = training.build(read_config("drawn-64", ("model.segmenter_width=4",)))
    with pytest.raises(ValueError, match="ResNet-18"):
        training.load_context_path(model, tmp_path)
