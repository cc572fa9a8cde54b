"""Sheets and sequences of large photos: they fit the screen, and no more than two photos are held at a time."""

import io
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf.cli import app
from seghgan_tf.photos import Pixels, read
from seghgan_tf.series import HELD, moving_size, sheet
from tests.photo_files import saved

LARGE = np.repeat(np.add.outer(np.arange(1000) // 20, np.arange(1500) // 20)[..., None], 3, -1).astype(np.uint8)


def test_a_sheet_shrinks_each_picture_as_soon_as_it_is_made() -> None:
    made: list[weakref.ref[Pixels]] = []

    def pictures() -> Iterator[tuple[str, Pixels]]:
        for shade in range(8):
            assert sum(one() is not None for one in made) <= 1
            pixels = np.full(LARGE.shape, 25 * shade, np.uint8)
            made.append(weakref.ref(pixels))
            yield str(shade), pixels

    drawn = np.asarray(sheet(read(saved(Image.fromarray(LARGE))), pictures(), 8))
    height, width = 213, 320
    assert drawn.shape == (3 * (height + 30) + 8, 3 * (width + 8) + 8, 3)
    places = [(8 + i // 3 * (height + 30), 8 + i % 3 * (width + 8)) for i in range(1, 9)]
    assert [int(drawn[top + 100, left + 100, 0]) for top, left in places] == [25 * shade for shade in range(8)]


def test_a_long_sequence_of_a_large_photo_is_small_and_says_so(export_v1: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "large.png", tmp_path / "large.webp"
    photo.write_bytes(saved(Image.fromarray(LARGE), compress_level=1))
    words = ["edit", str(photo), "--out", str(out), "--au", "AU12=5", "--sequence", "24"]
    tracemalloc.start()
    try:
        done = CliRunner().invoke(app, [*words, "--export", str(export_v1)])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.exit_code == 0, done.output
    assert "scaled from 1500 x 1000 to 1024 x 683 px" in done.stderr
    image = Image.open(io.BytesIO(out.read_bytes()))
    assert image.size == (1024, 683)
    assert image.n_frames > 1
    assert most < 8 * LARGE.nbytes, most / LARGE.nbytes


def test_all_frames_of_a_sequence_have_a_bound() -> None:
    for size in ((8192, 6144), (6144, 8192), (1000, 1000), (30000, 20)):
        for steps in (2, 24, 240):
            width, height = moving_size(size, steps)
            assert width * height * steps < 1.01 * HELD
            assert max(width, height) <= 1024
