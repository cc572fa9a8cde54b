"""Photographs from end to end: convert both data sets, train on both streams, export, serve, edit a person never trained on."""

import contextlib
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf.cli import app
from seghgan_tf.demo import run as demo
from tests.tiny import TINIEST, eagerly

UNITS = "AU04,AU12,AU25,AU26,AU45"


def seghgan(*arguments):
    with eagerly() if arguments[0] == "train" else contextlib.nullcontext():
        done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, f"{done.output[-2000:]}\n{done.exception!r}"


def convert(dataset, source, output, *options):
    seghgan(
        "data", "convert", dataset, source, output, "--size", 32, "--align", "none", "--au", UNITS,
        "--actions", source / "aus.csv", "--validation", 8, "--test", 8, *options,
    )  # fmt: skip
    return json.loads((output / "dataset.json").read_text())


def people(folder, split):
    faces = {}
    for record in tf.data.TFRecordDataset([str(path) for path in sorted(folder.glob(f"{split}-*.tfrecord"))]):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        faces[features["image/id"].bytes_list.value[0].decode()] = (
            features["subject/id"].bytes_list.value[0],
            features["image/encoded"].bytes_list.value[0],
        )
    return faces


@pytest.mark.slow
def test_a_photo_of_a_person_never_trained_on_is_edited_over_grpc(faces_folder, tmp_path):
    celeba, london = faces_folder / "celebamask", faces_folder / "london"
    official, neutral = tmp_path / "official", tmp_path / "london"
    assert convert("celebamask", celeba / "CelebAMask-HQ", official)["masks"] == 200
    assert convert("london", london, neutral)["with_units"] == 172

    run = tmp_path / "run"
    settings = {f"model.{name}": value for name, value in TINIEST.items()} | {
        "model.segmenter_steps": 1, "training.steps": 3, "training.batch_size": 2, "training.evaluate_every": 3,
        "training.validation_batches": 1,
    }  # fmt: skip
    seghgan(
        "train", "--config", "faces-128", "--workdir", run, f"--set=model.expression_space={UNITS}",
        *(f"--set={name}={value}" for name, value in settings.items()),
        f"--expression={official}", f"--expression={neutral}", f"--segmentation={official}",
    )  # fmt: skip
    seghgan("export", "--workdir", run, "--output", tmp_path / "export")

    trained = {subject for subject, _ in people(neutral, "train").values()}
    subject, photo = next(iter(people(neutral, "test").values()))
    assert subject not in trained
    (tmp_path / "photo.jpg").write_bytes(photo)
    edited = {}
    with demo.served(tmp_path / "export", tmp_path) as address:
        for name, place in (
            ("grpc", ("--server", address, "--space", UNITS)),
            ("here", ("--export", tmp_path / "export")),
        ):
            out = tmp_path / f"{name}.png"
            seghgan("edit", tmp_path / "photo.jpg", "--au", "AU12=4", "--out", out, *place)
            edited[name] = np.asarray(Image.open(out), np.int32)
    before = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"), np.int32)
    assert edited["grpc"].shape == before.shape
    assert np.abs(edited["grpc"] - before).max() > 0
    assert np.abs(edited["grpc"] - edited["here"]).max() <= 1
