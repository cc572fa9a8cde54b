"""A photo of as many pixels as are taken, from its file to the edited file, in memory that is bounded by its pixels."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seghgan_tf.photos import MAX_PIXELS
from tests.conftest import ROOT
from tests.photo_files import wide_profile

BYTES_A_PIXEL, BESIDE = 20, 256 << 20
"""The memory that docs/architecture.md names for reading and writing a photo."""

MEMORY = """
import resource, sys
import numpy as np
from pathlib import Path
from seghgan_tf.photos import read, to_png
from seghgan_tf.saving import encoded

name, kind, most = sys.argv[1:]
small = read(to_png(np.zeros((64, 64, 3), np.uint8)))
encoded(small, small.pixels, kind)
file = Path(name).read_bytes()
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(most), used + int(most)))
photo = read(file)
pixels = photo.pixels.copy()
pixels[1000:3000, 1000:3000] //= 2
Path(name).write_bytes(encoded(photo, pixels, kind))
"""


def smooth(mode: str) -> Image.Image:
    """Return a picture of as many pixels as are taken, all bands of it ramps."""
    ramp = Image.linear_gradient("L").resize((8192, 8192))
    bands = [ramp, ramp.rotate(90), ramp.rotate(180), ramp.point(lambda value: 128 + value // 2)]
    return ramp if mode == "L" else Image.merge(mode, bands[: len(mode)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "kind", "profiled"),
    [("RGB", "JPEG", False), ("RGB", "JPEG", True), ("L", "JPEG", False), ("RGBA", "PNG", True)],
)
def test_the_largest_photo_is_read_and_written_in_bounded_memory(tmp_path, mode, kind, profiled):
    picture, file = smooth(mode), tmp_path / "photo"
    assert picture.width * picture.height == MAX_PIXELS
    options = {"icc_profile": wide_profile()} if profiled else {}
    picture.save(file, kind, quality=90, compress_level=1, **options)
    before = np.asarray(picture.crop((0, 0, 4096, 4096)), np.int16)
    command = [sys.executable, "-c", MEMORY, file, kind, str(BYTES_A_PIXEL * MAX_PIXELS + BESIDE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with Image.open(io.BytesIO(file.read_bytes())) as edited:
        assert edited.mode == mode
        assert edited.size == picture.size
        after = np.asarray(edited.crop((0, 0, 4096, 4096)), np.int16)
    away = np.abs(after - before)
    assert away[1000:3000, 1000:3000].mean() > 10
    away[984:3016, 984:3016] = 0
    assert away.max() <= (8 if kind == "JPEG" else 0)
