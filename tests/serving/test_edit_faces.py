"""Which faces `seghgan edit` edits, by the packaged model on real faces: the largest, one by its number, all; what is said of poor ones."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner, Result

from seghgan_tf.cli import app
from seghgan_tf.photos import read

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
ASKED = ("--au", "AU26=4")


@pytest.fixture
def run(packaged: Path, exports_opened_once: None) -> Any:
    def run(*arguments: Any) -> Result:
        done = CliRunner().invoke(app, ["edit", *map(str, arguments), "--export", str(packaged)])
        assert done.exit_code == 0, done.output
        return done

    return run


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A picture of two people, 512 px of a large one and 256 px of one half as large."""
    picture = Image.new("RGB", (768, 512), "white")
    picture.paste(ASTRONAUT, (0, 0))
    picture.paste(ASTRONAUT.resize((256, 256)), (512, 100))
    picture.save(tmp_path / "two.png")
    return tmp_path / "two.png"


def changed(photo: Path, edited: Path) -> tuple[bool, bool]:
    """Tell whether the left, larger face changed, and the right one."""
    away = (read(photo.read_bytes()).pixels != read(edited.read_bytes()).pixels).any(-1)
    return bool(away[:, :512].any()), bool(away[:, 512:].any())


def test_faces_are_edited_by_number_or_all(run: Any, two: Path, tmp_path: Path, packaged: Path, open_once: Any) -> None:
    expected = {"largest": (True, False), "1": (True, False), "2": (False, True), "all": (True, True)}
    for face, sides in expected.items():
        done = run(two, "--out", tmp_path / f"{face}.png", *ASKED, "--face", face)
        assert changed(two, tmp_path / f"{face}.png") == sides
        assert ("only 43 x 54 px" in done.stderr) == sides[1]
    both, first, second = (read((tmp_path / f"{face}.png").read_bytes()).pixels for face in ("all", "1", "2"))
    np.testing.assert_array_equal(both[:, :512], first[:, :512])
    np.testing.assert_array_equal(both[:, 512:], second[:, 512:])
    by_editor = open_once(packaged).edit(two.read_bytes(), {"AU26": 4.0}, face="all")
    np.testing.assert_array_equal(read(by_editor).pixels, both)


def test_poor_faces_are_said(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    ASTRONAUT.crop((0, 80, 512, 512)).save(folder / "cut.png")
    ASTRONAUT.resize((200, 200)).save(folder / "tiny.png")
    ASTRONAUT.save(folder / "whole.png")
    run(folder, "--out", tmp_path / "out", *ASKED)
    rows = csv.DictReader((tmp_path / "out" / "edits.csv").read_text().splitlines())
    told = {row["photo"].rpartition("/")[2]: row["note"] for row in rows}
    assert told == {"cut.png": "the photo's border cuts it", "tiny.png": "it is only 33 x 42 px", "whole.png": ""}
    assert "the photo's border cuts it" in run(folder / "cut.png", "--out", tmp_path / "a.png", *ASKED).stderr


@pytest.mark.slow
def test_that_no_more_faces_are_looked_for_is_said(run: Any, tmp_path: Path) -> None:
    head = ASTRONAUT.crop((150, 30, 300, 230)).resize((120, 160))
    crowd = Image.new("RGB", (6 * 120, 3 * 160))
    for i in range(18):
        crowd.paste(head, (i % 6 * 120, i // 6 * 160))
    crowd.save(tmp_path / "crowd.png")
    assert (
        "16 faces were found"
        in run(tmp_path / "crowd.png", "--out", tmp_path / "a.png", *ASKED, "--face", "all").stderr
    )
    one = run(tmp_path / "crowd.png", "--out", tmp_path / "b.png", *ASKED)
    assert "16 faces" not in one.stderr
