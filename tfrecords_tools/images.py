"""Photos for the converter: files read safely, decoded by the one photo reader, refused with a reason; and encoded."""

import io
import os
import stat
import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seghgan_tf import photos
from seghgan_tf.photos import Rejected
from tfrecords_tools.photo import Reason

MAX_BYTES = 1 << 30
"""Largest file that is read into memory."""

RAW = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf",
    ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""Endings of cameras' raw files; many are TIFFs of which a decoder of pictures takes the thumbnail for all."""

_UP = 2
"""The PNG filter that stores a row as its difference from the one above."""


class Picture(NamedTuple):
    """A decoded photo: RGB pixels, the width and height that it has or had before it was reduced, how its EXIF tag turned it
    (None: not at all), the bytes it came from, and whether these can be stored as they are."""

    image: Image.Image
    size: tuple[int, int]
    turn: "Turn | None"
    data: bytes
    image_format: str
    storable: bool


def read_file(path: str) -> bytes:
    """Return a file's bytes. Raises Rejected for one that is empty, over MAX_BYTES, not to be read, or no file (a folder, a pipe)."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Rejected(Reason.UNREADABLE, "it is a pipe or a device, not a file")
            if status.st_size > MAX_BYTES:
                raise Rejected(Reason.UNREADABLE, f"it has {status.st_size} bytes, over {MAX_BYTES}")
            data = file.read()
    except Rejected:
        raise
    except (OSError, ValueError) as error:
        raise Rejected(Reason.UNREADABLE, getattr(error, "strerror", None) or str(error)) from error
    if not data:
        raise Rejected(Reason.EMPTY, "0 bytes")
    return data


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer


def read_size(path: str) -> tuple[int, int]:
    """Return the width and height that a photo's header tells. Raises Rejected."""
    return photos.open_header(read_file(path)).size


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What an EXIF orientation does to a raster."""


class Turn(NamedTuple):
    """How a photo's EXIF tag turns its raster; for what was drawn on the raster as it is stored."""

    orientation: int
    width: int
    height: int

    def size(self, upright: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the raster of a photo that is upright of this one."""
        return upright if self.orientation < 5 else upright[::-1]

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a mask (H, W) of the raster turned upright."""
        return np.asarray(Image.fromarray(mask).transpose(_TURNS[self.orientation]), np.uint8)

    def points(self, points: tuple[float, ...]) -> tuple[float, ...]:
        """Return places x, y, ... of the raster turned upright."""
        x, y = np.reshape(points, (-1, 2)).T
        x = self.width - x if self.orientation in (2, 3, 7, 8) else x
        y = self.height - y if self.orientation in (3, 4, 6, 7) else y
        return tuple(np.stack((x, y) if self.orientation < 5 else (y, x), 1).ravel().tolist())


def read_photo(path: str) -> bytes:
    """Return a photo's bytes. Raises Rejected as `read_file` does, and for a camera's raw file."""
    if path.lower().endswith(RAW):
        ending = os.path.splitext(path)[1]
        raise Rejected(
            Reason.RAW,
            f"{ending} is a camera's raw file, of which only the thumbnail can be read; develop it to JPEG or TIFF",
        )
    return read_file(path)


def open_picture(data: bytes, max_pixels: int, least: int = 0) -> Picture:
    """Decode a photo to 8-bit sRGB, upright; transparent parts become white. Raises Rejected with a reason.

    With `least` a JPEG may be decoded reduced, as long as its sides have so many pixels.
    """
    photo = photos.read(data, max_pixels, least)
    raw = photo.size if photo.orientation < 5 else photo.size[::-1]
    turn = Turn(photo.orientation, *raw) if photo.orientation in _TURNS else None
    return Picture(photo.rgb, photo.size, turn, data, photo.format, photo.plain)


def encode_image(image: Image.Image, jpeg_quality: int) -> tuple[bytes, str]:
    """Encode RGB pixels as a JPEG of this quality without colour subsampling, or as a PNG for quality 0; return bytes and format."""
    buffer = io.BytesIO()
    if jpeg_quality:
        image.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
        return buffer.getvalue(), "jpeg"
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue(), "png"


def encode_ids(mask: NDArray[np.uint8]) -> bytes:
    """Encode class ids (H, W) as a grey PNG: each row less the one above, in runs.

    Of large even areas this makes smaller files than the filters that Pillow tries for each row, in a quarter of the time.

    >>> np.asarray(Image.open(io.BytesIO(encode_ids(np.eye(3, dtype=np.uint8))))).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    height, width = mask.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = mask[0]
    np.subtract(mask[1:], mask[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", packer.compress(rows.tobytes()) + packer.flush()), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
