"""`seghgan edit --server` knows the model's action units from the server; an emotion sets every one of them."""

import io
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_export import write_export
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf.cli import app
from serving.client.errors import DeadlineExceeded, ModelNotFound


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(np.random.default_rng(2).integers(40, 180, (48, 48, 3), np.uint8)).save(path)
    return path


def edited(address: str, photo: Path, *asked: str) -> np.ndarray:
    out = photo.with_name("out.png")
    result = CliRunner().invoke(app, ["edit", str(photo), "--out", str(out), "--server", address, *asked])
    assert result.exit_code == 0, result.output
    return np.asarray(Image.open(io.BytesIO(out.read_bytes()))).astype(int) - np.asarray(Image.open(photo))


def test_a_subset_of_action_units_needs_no_naming(address: str, photo: Path) -> None:
    changed = edited(address, photo, "--au", "AU06=5", "--au", "AU12=5", "--au", "AU25=5")
    np.testing.assert_array_equal(changed, 64)


def test_neutral_sets_every_action_unit_to_nothing(address: str, photo: Path) -> None:
    np.testing.assert_array_equal(edited(address, photo, "--emotion", "neutral"), 0)
    assert (edited(address, photo, "--au", "AU12=0") > 0).all()


def test_an_older_export_is_edited_with_named_labels(run_server: Any, tmp_path: Path, photo: Path) -> None:
    write_export(tmp_path / "older", older=True)
    with run_server(model_dir=tmp_path / "older") as (_, address):
        changed = edited(address, photo, "--space", "AU06,AU12,AU25", "--emotion", "happy")
        np.testing.assert_array_equal(changed, round(127.5 * 0.5 * (0.6 + 0.8 + 0.4) / 3))
        arguments = ["edit", str(photo), "--out", "x.png", "--server", address, "--au", "AU12=1"]
        untold = CliRunner().invoke(app, arguments).exception
        assert isinstance(untold, ModelNotFound)
        assert re.search(r"manifest.json.*seghgan export.*--space", str(untold))
        wrong = CliRunner().invoke(app, [*arguments, "--space", "AU12"])
        assert wrong.exit_code == 2
        assert "3 labels" in wrong.output


def test_a_server_that_says_nothing_is_waited_for_as_long_as_is_asked(photo: Path) -> None:
    with socket.create_server(("localhost", 0)) as silent:
        address = f"localhost:{silent.getsockname()[1]}"
        words = ["edit", str(photo), "--out", "x.png", "--server", address, "--au", "AU12=1", "--timeout", "0.5"]
        told = CliRunner().invoke(app, words).exception
    assert isinstance(told, DeadlineExceeded)
    assert "--timeout" in str(told)
