"""A picture file into upright 8-bit sRGB pixels and what it carried, or refused in words; and back into a file."""

import contextlib
import dataclasses
import functools
import io
import struct
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from seghgan_tf.colors import Pixels, is_read, is_srgb, to_srgb
from seghgan_tf.xmp import STALE, without

MIN_SIDE, MAX_PIXELS = 16, 1 << 26
"""Smallest side and largest area of a photo that is edited, in pixels."""

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".avif", ".heic", ".heif", ".jfif",
    ".jpe", ".mpo", ".jp2",
)  # fmt: skip
"""File endings that count as photos when a folder is searched."""

BROKEN = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, EOFError, NotImplementedError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise for broken files."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "HEIF", "JPEG2000")
_TOLD = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432)
"""EXIF tags outside the folders that are kept: description, camera, resolution, software, time, author, copyright."""

RULES = {
    "not_an_image": "a picture, as a JPEG, PNG, WebP or TIFF file",
    "truncated_image": "a whole picture",
    "too_many_pixels": "no larger than a photo",
    "too_small": f"at least {MIN_SIDE} px a side",
    "unsupported_colors": "in grey or colour of 8 or 16 bits",
    "animated_image": "a single picture",
}
"""What a photo must be, by the reason why another is refused."""


class Rejected(ValueError):  # noqa: N818 - it carries a reason, and is caught by name
    """Raised for a photo, or what a data set says of one, that cannot be used; `detail` says what was found.

    `reason` is a key of RULES, or one that a converter of data sets counts.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(
            f"`photo` must be {RULES[reason]}. Received: {detail}" if reason in RULES else f"{reason}: {detail}"
        )
        self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True)
class Photo:
    """A decoded photo.

    `rgb` is upright sRGB, transparent parts on white; `pixels` (H, W, 3) are the same. `size` is the width and height of the
    upright photo, `rgb`'s own unless it was reduced; `orientation` is the EXIF tag, 1 to 8, by which it was turned. `file` is
    the file it came from and `format` what kind it is, as "jpeg". `plain` tells whether TensorFlow's decoders read the file to
    these pixels. `own` is the upright picture in the file's own colours and depth, where these are not the pixels. `exif` and
    `xmp` ask for no turn and hold no small picture; `profile` is as the file has it.
    """

    rgb: Image.Image
    size: tuple[int, int]
    orientation: int
    file: bytes
    format: str
    plain: bool
    own: Image.Image | None
    exif: bytes
    profile: bytes
    xmp: bytes

    @functools.cached_property
    def pixels(self) -> Pixels:
        """The upright sRGB pixels (H, W, 3)."""
        return np.asarray(self.rgb)

    def sent(self) -> bytes:
        """Return a JPEG or PNG file that any decoder reads to `pixels`: the own file, or a PNG."""
        return self.file if self.plain else to_png(self.pixels)


def image_pixels(image: Image.Image) -> Pixels:
    """Return the pixels of an opened picture as `read` gives them: upright sRGB (H, W, 3). Raises Rejected for odd modes."""
    return np.asarray(_upright_and_rgb(image, _orientation(image))[1])


def centre_square(pixels: Pixels, size: int) -> NDArray[np.float32]:
    """Bring the centre square of (H, W, 3) pixels to the model's size: (size, size, 3) in [-1, 1]."""
    square = ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square, np.float32) / 127.5 - 1.0


def to_png(pixels: Pixels, effort: int = 1) -> bytes:
    """Encode (H, W, 3) or (H, W) pixels as a PNG, fast rather than small; `effort` is 0 to 9."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=effort)
    return buffer.getvalue()


def read(file: bytes, max_pixels: int = MAX_PIXELS, least: int = 0) -> Photo:
    """Decode a photo; the header is checked against `max_pixels` before any pixel is decoded. Raises Rejected.

    With `least` a JPEG is decoded at a half, a quarter or an eighth of its size where its sides still have so many pixels; not one
    that is turned, as a last column or row that is not whole would then be the first.

    >>> read(to_png(np.full((16, 20), 200, np.uint8))).pixels.shape
    (16, 20, 3)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = open_header(file)
        _check_size(image, max_pixels)
        whole = image.size
        if least and image.format in ("JPEG", "MPO") and _orientation(image) == 1:
            image.draft(None, (least, least))
        try:
            if image.format not in ("JPEG", "MPO") and getattr(image, "n_frames", 1) > 1:
                raise Rejected("animated_image", "several frames")
            image.load()
            check_sums(image, file)
            orientation = _orientation(image)
            upright, rgb = _upright_and_rgb(image, orientation)
        except Rejected:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large("what Pillow takes for a bomb", MAX_PIXELS) from error
        except BROKEN as error:
            raise Rejected("truncated_image", str(error) or type(error).__name__) from error
    return Photo(
        rgb=rgb,
        size=whole[::-1] if orientation > 4 else whole,
        orientation=orientation,
        file=file,
        format="jpeg" if image.format == "MPO" else str(image.format).lower(),
        plain=upright is image and image.size == whole and _has_plain_bytes(image, file),
        own=None if upright is rgb else upright,
        exif=_exif(upright),
        profile=image.info.get("icc_profile") or b"",
        xmp=_xmp(image),
    )


@functools.cache
def init_formats() -> None:
    """Let Pillow know all its formats, HEIC too where pillow-heif is installed."""
    Image.init()
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def open_header(file: bytes) -> Image.Image:
    """Read a photo's header with Pillow, no pixels. Raises Rejected."""
    init_formats()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(file), formats=[name for name in _FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise _too_large("what Pillow takes for a bomb", MAX_PIXELS) from error
    except BROKEN as error:
        raise Rejected("not_an_image", _why_not(file)) from error


def check_sums(image: Image.Image, file: bytes) -> None:
    """Compare the checksum of each chunk of a PNG, down to its last, which TensorFlow's decoder does and Pillow's does not.

    Raises one of BROKEN.
    """
    place, view = 8, memoryview(file)
    while image.format == "PNG":
        length, kind = struct.unpack_from(">I4s", file, place)
        end = place + 8 + length
        if struct.unpack_from(">I", file, end) != (zlib.crc32(view[place + 4 : end]),):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
        if kind == b"IEND":
            return
        place = end + 4


def _upright_and_rgb(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Image]:
    """Return a picture turned upright, in its own colours and as sRGB; the very same image where nothing is to do."""
    upright = image if orientation == 1 else ImageOps.exif_transpose(image)
    if not is_read(upright):
        raise Rejected("unsupported_colors", f"a picture of mode {image.mode}")
    return upright, to_srgb(upright, image.info.get("icc_profile") or b"")


def _too_large(size: str, most: int) -> Rejected:
    mend = f"{most // 10**6} megapixels" if most >= 10**6 else f"{most} pixels"
    return Rejected("too_many_pixels", f"{size}, which is over {most} pixels: scale it to at most {mend}")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    size = f"{image.width} x {image.height}"
    if image.width * image.height > max_pixels:
        raise _too_large(size, max_pixels)
    if min(image.size) < MIN_SIDE:
        raise Rejected("too_small", size)


def _why_not(file: bytes) -> str:
    starts = ((b"\xff\xd8", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"RIFF", "WebP"))
    kind = next((name for start, name in starts if file.startswith(start)), None)
    if file[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "a HEIC file, which is read with pillow-heif: pip install 'seghgan-tf[heic]'"
    return f"a {kind} file with a broken header" if kind else f"{len(file)} bytes, beginning with {file[:8]!r}"


def _orientation(image: Image.Image) -> int:
    """Return the EXIF tag that says how a picture is turned: 1 to 8, 1 where it is as it should be or none says."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except BROKEN:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _exif(upright: Image.Image) -> bytes:
    """Return what tells of the camera and the photographer; a TIFF's tags about its own layout are left out."""
    try:
        found, told = upright.getexif(), Image.Exif()
        told.update({tag: value for tag, value in found.items() if tag in _TOLD})
        folders = [folder for folder in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if found.get_ifd(folder)]
        for folder in folders:
            told.get_ifd(folder).update(found.get_ifd(folder))
        if not (len(told) or folders):
            return b""
        told[ExifTags.Base.Orientation] = 1
        return told.tobytes()
    except BROKEN:
        return b""


def _xmp(image: Image.Image) -> bytes:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return without(packet.encode() if isinstance(packet, str) else bytes(packet), *STALE)


def _has_plain_bytes(image: Image.Image, file: bytes) -> bool:
    """Tell whether TensorFlow's decoders read this file to the same 8-bit pixels as Pillow, colours left alone."""
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "L") or (profile and not is_srgb(profile)):
        return False
    if image.format == "JPEG":
        return file.endswith(b"\xff\xd9")
    return image.format == "PNG" and file[24:25] == b"\x08" and "transparency" not in image.info
