"""Photos for the converter: files read safely, decoded by the one photo reader, refused with a reason; and encoded."""

import contextlib
import io
import os
import stat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from seghgan_tf import photos
from seghgan_tf.photos import Rejected
from tfrecords_tools.photo import Reason

MAX_BYTES = 1 << 30
"""Largest file that is read into memory."""


class Picture(NamedTuple):
    """A decoded photo: RGB pixels, the bytes it came from, and whether these bytes can be stored as they are."""

    image: Image.Image
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


def turn_of(data: bytes) -> Turn | None:
    """Return how a photo's EXIF tag turns it; None where it stays as it is. Raises Rejected."""
    image = photos.open_header(data)
    with contextlib.suppress(*photos.BROKEN):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return Turn(orientation, *image.size) if orientation in _TURNS else None
    return None


def open_picture(data: bytes, max_pixels: int) -> Picture:
    """Decode a photo to 8-bit sRGB, upright; transparent parts become white. Raises Rejected with a reason."""
    photo = photos.read(data, max_pixels)
    return Picture(Image.fromarray(photo.pixels), data, photo.format, photo.plain)


def encode_image(image: Image.Image, jpeg_quality: int) -> tuple[bytes, str]:
    """Encode RGB pixels as a JPEG of this quality without colour subsampling, or as a PNG for quality 0; return bytes and format."""
    buffer = io.BytesIO()
    if jpeg_quality:
        image.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
        return buffer.getvalue(), "jpeg"
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue(), "png"
