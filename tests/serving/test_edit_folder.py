"""`seghgan edit` into a folder: no name twice, no original replaced, no photo that ends the work of the others."""

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_export import description
from PIL import Image
from typer.testing import CliRunner, Result

from seghgan_tf.cli import app
from seghgan_tf.edit_folder import edit_folder
from seghgan_tf.editing import Editor
from seghgan_tf.edits import Settings, Wish
from seghgan_tf.open_editor import calling
from seghgan_tf.photos import read
from serving.client import SegHGANClient
from serving.client.errors import ServerUnavailable
from tests.photo_files import ODD, saved

UNITS = ("--au", "AU06=5", "--au", "AU12=5", "--au", "AU25=5")
WIDE = saved(Image.fromarray(np.full((48, 2100, 3), 90, np.uint8)))
"""A photo that the model's graph refuses."""


@pytest.fixture
def run(export_v1: Path, exports_opened_once: None) -> Any:
    def run(*arguments: Any, editor: tuple[str, ...] = ("--export", str(export_v1))) -> Result:
        return CliRunner().invoke(app, ["edit", *map(str, arguments), *editor])

    return run


def filled(folder: Path, **photos: bytes) -> Path:
    """Make a folder of photos, named by their kinds: `a_png`."""
    folder.mkdir(parents=True)
    for name, file in photos.items():
        (folder / name.replace("_", ".")).write_bytes(file)
    return folder


def flat(shade: int, kind: str = "PNG") -> bytes:
    return saved(Image.new("RGB", (48, 48), (shade,) * 3), kind)


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "edits.csv").read_text("utf-8").splitlines()))


def said(done: Result) -> str:
    return " ".join(f"{done.output} {done.exception}".replace("│", " ").split())


def test_photos_of_one_name_become_files_of_several(run: Any, tmp_path: Path) -> None:
    one = filled(tmp_path / "one", a_bmp=flat(10, "BMP"), a_png=flat(20))
    two = filled(tmp_path / "two", A_png=flat(30))
    done = run(one, two, "--out", tmp_path / "out", *UNITS)
    assert done.exit_code == 0, done.output
    assert [row["edited"] for row in rows(tmp_path / "out")] == ["a.png", "a-2.png", "A-3.png"]
    shades = [read((tmp_path / "out" / name).read_bytes()).pixels[0, 0, 0] for name in ("a.png", "a-2.png", "A-3.png")]
    assert shades == [10 + 64, 20 + 64, 30 + 64]


def test_no_original_is_replaced(run: Any, tmp_path: Path) -> None:
    holiday = filled(tmp_path / "holiday", a_png=flat(10), b_bmp=flat(20, "BMP"))
    before = {path.name: path.read_bytes() for path in holiday.iterdir()}
    link = filled(tmp_path / "links") / "a.png"
    link.symlink_to(holiday / "a.png")
    for words in ((holiday, "--out", holiday), (link.parent, "--out", holiday)):
        done = run(*words, *UNITS)
        assert done.exit_code == 2
        assert "another folder" in said(done)
    done = run(holiday / "a.png", "--out", holiday / "a.png", *UNITS)
    assert done.exit_code == 2
    assert "another file than the photo" in said(done)
    assert {path.name: path.read_bytes() for path in holiday.iterdir()} == before
    assert run(holiday, "--out", link.parent, *UNITS).exit_code == 2, "the link is the photo"
    assert run(holiday / "b.bmp", "--out", holiday, *UNITS).exit_code == 0
    assert (holiday / "a.png").read_bytes() == before["a.png"]


def test_a_folder_of_sequences_is_webp_and_a_pipe_too(run: Any, tmp_path: Path) -> None:
    folder = filled(tmp_path / "in", a_png=flat(10), b_jpg=flat(20, "JPEG"))
    done = run(folder, "--out", tmp_path / "out", *UNITS, "--sequence", "3")
    assert done.exit_code == 0, done.output
    for name in ("a.webp", "b.webp"):
        image = Image.open(io.BytesIO((tmp_path / "out" / name).read_bytes()))
        assert (image.format, image.n_frames) == ("WEBP", 4)
    piped = run(folder / "a.png", "--out", "-", *UNITS, "--sequence", "3")
    assert Image.open(io.BytesIO(piped.stdout_bytes)).n_frames == 4


def test_a_place_without_an_ending_is_a_folder(run: Any, tmp_path: Path) -> None:
    photo = filled(tmp_path / "in", a_jpg=flat(10, "JPEG")) / "a.jpg"
    assert run(photo, "--out", f"{tmp_path}/new/", *UNITS).exit_code == 0
    assert [row["edited"] for row in rows(tmp_path / "new")] == ["a.jpg"]
    done = run(photo, photo, "--out", photo, *UNITS)
    assert done.exit_code == 2
    assert "must be a folder" in said(done)


def test_a_name_that_is_no_utf_8_is_a_row_like_any_other(run: Any, tmp_path: Path) -> None:
    folder = filled(tmp_path / "in", b_png=flat(20))
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(flat(10))
    (folder / os.fsdecode(b"text\xe9.png")).write_text("no photo")
    done = run(folder, "--out", tmp_path / "out", *UNITS)
    assert "2 of 3 photos" in done.output
    assert sorted(row["edited"] for row in rows(tmp_path / "out")) == ["", "b.png", "caf\\xe9.png"]
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.png")).is_file()
    one = run(folder / os.fsdecode(b"caf\xe9.png"), "--out", tmp_path / os.fsdecode(b"\xe9.png"), *UNITS)
    assert one.exit_code == 0
    assert "\\xe9.png" in one.output


@pytest.mark.parametrize("transport", ["export", "server"])
def test_what_the_model_refuses_of_one_photo_ends_no_other(
    run: Any, transport: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = filled(tmp_path / "in", a_png=WIDE, b_png=flat(20))
    where = {"editor": ("--server", request.getfixturevalue("address"))} if transport == "server" else {}
    done = run(folder, "--out", tmp_path / "out", *UNITS, **where)
    assert done.exit_code == 1
    assert "1 of 2 photos" in done.output
    refused, edited = rows(tmp_path / "out")
    assert "16 to 2000 px" in refused["note"]
    assert "node" not in refused["note"]
    assert edited["edited"] == "b.png"


def test_a_server_that_is_gone_ends_it(run_server: Any, export_v1: Path, tmp_path: Path) -> None:
    folder = filled(tmp_path / "in", a_png=flat(10), b_png=flat(20))
    photos, places = [folder / "a.png", folder / "b.png"], [tmp_path / "a.png", tmp_path / "b.png"]
    asked = Settings(Wish({"AU12": 5.0}), None, "largest", 95, True, True, False, 0)
    with run_server(model_dir=export_v1.parent) as (_, address), SegHGANClient(address) as client:
        editor = Editor(description(32), calling(client))
        assert edit_folder(editor, photos, places, asked, tmp_path / "edits.csv") == 0
    with SegHGANClient(address, timeout=5.0) as client, pytest.raises(ServerUnavailable):
        edit_folder(Editor(description(32), calling(client)), photos, places, asked, tmp_path / "edits.csv")
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--au", "AU28=3"), "must name labels"),
        (("--au", "AU12=9"), "between 0 and 5"),
        (("--delta", "AU28=+1"), "must name labels"),
        (("--emotion", "angry"), "can show"),
        ((*UNITS, "--region", "chin"), "must be among"),
    ],
)
def test_what_the_model_does_not_know_is_refused_once(
    run: Any, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    folder = filled(tmp_path / "in", a_png=flat(10), b_png=flat(20))
    done = run(folder, "--out", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert told in said(done)
    assert not (tmp_path / "out").exists()


def test_what_a_file_does_not_hold_is_in_the_table(run: Any, tmp_path: Path) -> None:
    folder = filled(tmp_path / "in", a_png=ODD["16-bit grey png"][0], b_jpg=flat(20, "JPEG"))
    assert run(folder, "--out", tmp_path / "out", *UNITS, "--region", "mouth").exit_code == 0
    grey, lossy = rows(tmp_path / "out")
    assert grey["note"] == ""
    assert "JPEG is lossy" in lossy["note"]
