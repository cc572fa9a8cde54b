"""Safe decoding: photos of any make into 8-bit RGB, or refused with a reason; and encoding back."""

import io
import os
import stat
import struct
import warnings
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps

from tfrecords_tools.photo import Reason, Rejected

MIN_SIDE = 16
"""Smallest side of a photo in pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
"""File endings that count as images when a folder is searched."""

MAX_BYTES = 1 << 30
"""Largest file that is read into memory."""

BROKEN = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, EOFError, NotImplementedError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise for broken files."""

_ORIENTATION = 0x0112
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_DIRECT = ("RGB", "L")


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
    except (OSError, ValueError) as error:
        raise Rejected(Reason.UNREADABLE, getattr(error, "strerror", None) or str(error)) from error
    if not data:
        raise Rejected(Reason.EMPTY, "0 bytes")
    return data


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer


def read_size(path: str) -> tuple[int, int]:
    """Return the width and height that a photo's header tells. Raises Rejected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _opened(read_file(path)).size


def open_picture(data: bytes, max_pixels: int) -> Picture:
    """Decode a photo to 8-bit RGB, turned as its EXIF data say; transparent parts become white.

    The header is checked against `max_pixels` before anything is decoded. Raises Rejected with a reason.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _opened(data)
        if image.width * image.height > max_pixels:
            raise Rejected(Reason.TOO_LARGE, f"{image.width} x {image.height} is over {max_pixels} pixels")
        if min(image.size) < MIN_SIDE:
            raise Rejected(
                Reason.TOO_SMALL, f"{image.width} x {image.height} is under {MIN_SIDE} pixels on its shorter side"
            )
        image_format = "jpeg" if image.format in ("JPEG", "MPO") else (image.format or "").lower()
        turned = _orientation(image) not in (None, 1)
        storable = not turned and image.mode in _DIRECT and _has_plain_bytes(image, data)
        try:
            if image_format != "jpeg" and getattr(image, "n_frames", 1) > 1:
                raise Rejected(Reason.ANIMATED, "it has several frames")
            image.load()
            check_sums(image, data)
            if turned:
                image = ImageOps.exif_transpose(image)
            rgb = _to_rgb(image)
        except Image.DecompressionBombError as error:
            raise Rejected(Reason.TOO_LARGE, str(error)) from error
        except BROKEN as error:
            raise Rejected(Reason.TRUNCATED, str(error) or type(error).__name__) from error
    return Picture(rgb, data, image_format, storable)


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Rejected(Reason.TOO_LARGE, str(error)) from error
    except BROKEN as error:
        raise Rejected(Reason.NOT_AN_IMAGE, _why_not(data)) from error


def check_sums(image: Image.Image, data: bytes) -> None:
    """Compare the checksum of each chunk of a PNG, down to its last, which TensorFlow's decoder does and Pillow's does not.

    Raises one of BROKEN.
    """
    place, view = 8, memoryview(data)
    while image.format == "PNG":
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if struct.unpack_from(">I", data, end) != (zlib.crc32(view[place + 4 : end]),):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
        if kind == b"IEND":
            return
        place = end + 4


def _why_not(data: bytes) -> str:
    starts = ((b"\xff\xd8", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"RIFF", "WebP"))
    kind = next((name for start, name in starts if data.startswith(start)), None)
    return f"a {kind} file with a broken header" if kind else f"it begins with {data[:8]!r}"


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(_ORIENTATION)
    except BROKEN:
        return None


def _has_plain_bytes(image: Image.Image, data: bytes) -> bool:
    """Tell whether TensorFlow's decoders read these bytes to the same 8-bit pixels as Pillow."""
    if image.format == "JPEG":
        return data.endswith(b"\xff\xd9")
    return image.format == "PNG" and data[24:25] == b"\x08" and "transparency" not in image.info


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image).astype(np.uint16) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer).convert("RGB")
    if image.mode in ("1", "L", "P", "RGB", "YCbCr"):
        return image.convert("RGB")
    raise Rejected(Reason.COLORS, f"mode {image.mode} is no photo's")


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Turn inks into light with the file's own profile where it has one, else with the plain formula."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, *BROKEN):
            return image.convert("RGB")
        if turned is not None:
            return turned
    return image.convert("RGB")


def encode_image(image: Image.Image, jpeg_quality: int) -> tuple[bytes, str]:
    """Encode RGB pixels as a JPEG of this quality without colour subsampling, or as a PNG for quality 0; return bytes and format."""
    buffer = io.BytesIO()
    if jpeg_quality:
        image.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
        return buffer.getvalue(), "jpeg"
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue(), "png"
