"""Odd picture files, each with the upright sRGB pixels that are in it."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from seghgan_tf.photos import init_formats

HEIGHT, WIDTH = 48, 64
_Y, _X = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.stack([_X * 2 + 40, _Y * 3 + 20, (_X + _Y) + 30], -1).astype(np.uint8)
"""A picture (48, 64, 3) of values from 20 to 166, no two corners alike."""

GREY = (_X * 2 + _Y).astype(np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(value: int) -> Image.Exif:
    """Return EXIF data that ask for a turn and name a camera."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = value, "a camera"
    return exif


def sixteen_bit_png(colors: np.ndarray) -> bytes:
    """Return a 16-bit RGB PNG of (H, W, 3) uint16, which Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = colors.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colors)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wide_profile() -> bytes:
    """Return an ICC profile whose colours are not sRGB's: that of XYZ-near primaries Pillow can make, with red and blue swapped."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = {srgb[132 + 12 * i : 136 + 12 * i]: 132 + 12 * i for i in range(struct.unpack(">I", srgb[128:132])[0])}
    swapped = bytearray(srgb)
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    swapped[red + 4 : red + 12], swapped[blue + 4 : blue + 12] = srgb[blue + 4 : blue + 12], srgb[red + 4 : red + 12]
    return bytes(swapped).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def _half_clear() -> Image.Image:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :20] = 0
    return Image.fromarray(np.dstack([SMOOTH, alpha]))


def _on_white() -> np.ndarray:
    pixels = SMOOTH.copy()
    pixels[:, :20] = 255
    return pixels


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, -1)


init_formats()
_IMAGE = Image.fromarray(SMOOTH)
_DEEP = GREY.astype(np.uint16) * 257 + 100
_PALETTE = _IMAGE.quantize(64)

ODD: dict[str, tuple[bytes, np.ndarray, int]] = {
    "png": (saved(_IMAGE), SMOOTH, 0),
    "jpeg": (saved(_IMAGE, "JPEG", quality=95), SMOOTH, 8),
    "webp": (saved(_IMAGE, "WEBP", lossless=True), SMOOTH, 0),
    "avif": (saved(_IMAGE, "AVIF", quality=95), SMOOTH, 12),
    "heic": (saved(_IMAGE, "HEIF", quality=95), SMOOTH, 12),
    "heic on its side": (saved(_IMAGE, "HEIF", quality=95, exif=oriented(6).tobytes()), np.rot90(SMOOTH, -1), 12),
    "bmp": (saved(_IMAGE, "BMP"), SMOOTH, 0),
    "lying on its side": (saved(_IMAGE, "JPEG", quality=95, exif=oriented(6)), np.rot90(SMOOTH, -1), 8),
    "mirrored": (saved(_IMAGE, exif=oriented(2)), SMOOTH[:, ::-1], 0),
    "grey": (saved(Image.fromarray(GREY)), _grey(GREY), 0),
    "grey jpeg": (saved(Image.fromarray(GREY), "JPEG", quality=95), _grey(GREY), 8),
    "16-bit grey png": (saved(Image.fromarray(_DEEP)), _grey(GREY), 1),
    "16-bit grey tiff": (saved(Image.fromarray(_DEEP), "TIFF"), _grey(GREY), 1),
    "16-bit colour png": (sixteen_bit_png(SMOOTH.astype(np.uint16) * 257), SMOOTH, 1),
    "palette": (saved(_PALETTE), np.asarray(_PALETTE.convert("RGB")), 0),
    "cut-out": (saved(_half_clear()), _on_white(), 0),
    "cut-out webp": (saved(_half_clear(), "WEBP", lossless=True), _on_white(), 0),
    "cmyk": (saved(_IMAGE.convert("CMYK"), "TIFF"), SMOOTH, 1),
    "other profile": (saved(_IMAGE, icc_profile=wide_profile()), SMOOTH[..., ::-1], 2),
    "black and white": (saved(Image.fromarray(GREY > 80)), _grey(np.where(GREY > 80, 255, 0).astype(np.uint8)), 0),
}
"""File, pixels and how far a lossy file may be from them, by the name of what is odd."""
