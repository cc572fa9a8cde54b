"""The commands print nothing but their own lines: none of TensorFlow's start-up, none of its pipeline's warnings."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from seghgan_tf.quiet import held
from tests.conftest import ROOT, TINY
from tfrecords_tools.draw import draw_dataset

NOISE = ("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES", "TF_ENABLE_ONEDNN_OPTS", "GLOG_minloglevel")
ENV = {name: value for name, value in os.environ.items() if name not in NOISE}
COMMAND = [sys.executable, "-c", "from seghgan_tf.cli import main; main()"]


def seghgan(*arguments):
    """Run the command as a user does, with nothing set that quietens TensorFlow, and return what it wrote to stderr."""
    ran = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=ENV, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """What train and export wrote to stderr, and the folder of exports."""
    folder = tmp_path_factory.mktemp("quiet")
    draw_dataset(folder / "records", 8, 4, 2, 64, 3)
    tiny = [f"model.{key}={value}" for key, value in TINY.items()]
    small = [
        "model.regions=none",
        "model.segmenter_steps=1",
        "model.paired_steps=0",
        "training.steps=3",
        "training.batch_size=4",
        "training.evaluate_every=2",
        "training.validation_batches=1",
    ]
    sets = [word for one in [*tiny, *small] for word in ("--set", one)]
    run = ["--workdir", folder / "run", "--expression", folder / "records"]
    said = {"train": seghgan("train", "--config", "drawn-64", *run, *sets)}
    said["export"] = seghgan("export", "--workdir", folder / "run", "--output", folder / "exports")
    return said, folder / "exports"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "export"])
def test_training_and_export_write_nothing_to_stderr(exports, command):
    assert exports[0][command] == ""


@pytest.mark.slow
def test_an_edit_writes_nothing_to_stderr(exports, tmp_path):
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(tmp_path / "me.png")
    words = ["--au", "AU12=3", "--frame", "centre", "--export", exports[1] / "1"]
    said = seghgan("edit", tmp_path / "me.png", "--out", tmp_path / "out.png", *words)
    assert said == ""
    assert (tmp_path / "out.png").exists()


@pytest.mark.slow
def test_pairs_made_by_workers_write_nothing_to_stderr(tmp_path):
    from skimage import data

    photos, rows = tmp_path / "photos", ["filename,subject,label"]
    photos.mkdir()
    for name in ("ann-happy", "ann-sad", "bob-happy", "bob-sad"):
        Image.fromarray(data.astronaut()).crop((140, 0, 310, 200)).save(photos / f"{name}.png")
        rows.append(f"{name}.png,{name.replace('-', ',')}")
    (photos / "labels.csv").write_text("\n".join(rows))
    assert seghgan("data", "pair", "folder", photos, tmp_path / "pairs", "--size", 64, "--workers", 2) == ""
    assert (tmp_path / "pairs" / "dataset.json").exists()


@pytest.mark.slow
def test_a_server_writes_its_own_log_alone(exports, tmp_path):
    ports = tmp_path / "ports.json"
    words = ["serve", exports[1], "--grpc-port", 0, "--rest-port", 0, "--port-file", ports, "--backend", "embedded"]
    server = subprocess.Popen([*COMMAND, *map(str, words)], env=ENV, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not ports.exists() and server.poll() is None:
        time.sleep(0.1)
    server.send_signal(signal.SIGTERM)
    _, said = server.communicate()
    first, *lines = said.splitlines()
    assert server.returncode == 0, said
    assert first.startswith("backend: embedded")
    assert {json.loads(line)["message"] for line in lines} >= {"serving", "draining", "stopped"}


def test_what_is_held_is_written_after_all_where_the_block_fails(capfd):
    def speak(fails=False, show=False):
        with held(show=show):
            os.write(2, b"noise")
            if fails:
                raise ImportError
        return capfd.readouterr().err

    assert speak() == ""
    assert speak(show=True) == "noise"
    with pytest.raises(ImportError):
        speak(fails=True)
    assert capfd.readouterr().err == "noise"


def test_tensorflow_starts_in_silence_unless_asked():
    code = "from seghgan_tf.quiet import start_tensorflow; start_tensorflow(); import tensorflow as tf; tf.ones(2) + 1"
    loud, quiet = (
        subprocess.run(
            [sys.executable, "-c", code, *words], env=ENV, cwd=ROOT, capture_output=True, text=True, check=True
        )
        for words in (["--debug"], [])
    )
    assert "oneDNN" in loud.stderr, "it is asked for on every processor"
    assert quiet.stderr == ""
