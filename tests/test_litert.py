"""A LiteRT file edits as the model does, names what it takes, and describes itself."""

import json
import warnings
import zipfile

import numpy as np
import tensorflow as tf
from typer.testing import CliRunner

from seghgan_tf import cli
from seghgan_tf.likeness import drawn_requests
from seghgan_tf.litert import write_litert
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.field import apply_field
from tests.conftest import TINY


def test_an_interpreter_computes_the_models_edit_and_its_field(tmp_path, capfd):
    tf.keras.utils.set_random_seed(5)
    model = SegHGAN(TINY)
    file = write_litert(model, tmp_path / "made" / "tiny.tflite")
    assert "INFO" not in capfd.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        run = tf.lite.Interpreter(str(file)).get_signature_runner("edit")
    for asked in drawn_requests(model.config)[:4]:
        made = run(**{name: value.numpy() for name, value in asked.items()})
        assert 127.5 * np.abs(made["edited"] - model(asked)["edited"]).max() < 1
        np.testing.assert_allclose(made["edited"], apply_field(asked["image"], made["field"]), atol=1e-3)
    described = json.loads(zipfile.ZipFile(file).read("model.json"))
    assert described["model"]["image_size"] == TINY["image_size"]
    assert described["model"]["expression"]["labels"][8] == "AU12"
    assert described["largest_difference"] < 1


def test_an_export_needs_a_place():
    for words in ([], ["--litert", "a.tflite", "--optimize"]):
        done = CliRunner().invoke(cli.app, ["export", "--preset", "drawn-64", *words])
        assert done.exit_code == 2
        assert "--output" in done.output
