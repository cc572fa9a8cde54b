"""Colours: a picture's own into 8-bit sRGB, and edited sRGB back into its own colours and depth, a band of rows at a time."""

import functools
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]

CMS_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError)
"""What Pillow raises for a colour profile that is broken or fits no picture."""

_BAND = 1 << 20
"""Pixels that are turned at once: what lies in memory beside the pictures themselves."""

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_GREY = ("1", "L", "LA", "La")
_COLOR = ("RGB", "RGBA", "RGBa", "P", "PA")


def is_deep(image: Image.Image) -> bool:
    """Tell whether a picture is grey of 16 bits."""
    return image.mode in _SIXTEEN_BITS


def is_read(image: Image.Image) -> bool:
    """Tell whether `to_srgb` turns pictures of this mode."""
    return is_deep(image) or image.mode in (*_GREY, *_COLOR, "YCbCr", "CMYK")


def is_clear(image: Image.Image) -> bool:
    """Tell whether some of a picture's pixels let what is behind them through.

    >>> is_clear(Image.new("RGBA", (2, 2), "white")), is_clear(Image.new("RGBA", (2, 2)))
    (False, True)
    """
    if is_deep(image) or not image.has_transparency_data:
        return image.has_transparency_data
    return any(image.crop(box).convert("RGBA").getchannel("A").getextrema()[0] < 255 for box in _bands(image.size))


def is_srgb(profile: bytes) -> bool:
    """Tell whether a colour profile calls itself sRGB."""
    try:
        return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except CMS_ERRORS:
        return False


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return a picture in 8-bit sRGB: depth first, then its profile's colours, then transparency onto white; itself if it is so."""
    layered = image.has_transparency_data
    grey = is_deep(image) or image.mode in _GREY
    mode = "L" if grey else "RGB" if layered or image.mode == "P" else image.mode
    turn = _turning(profile, mode)
    if image.mode == "RGB" and not layered and turn is None:
        return image
    result = Image.new("RGB", image.size)
    for box in _bands(image.size):
        piece, alpha = image.crop(box), None
        if is_deep(piece):
            values = np.asarray(piece).astype(np.uint16)
            piece = Image.fromarray((values // 257).astype(np.uint8))
            if layered:
                alpha = Image.fromarray((values != image.info["transparency"]).astype(np.uint8) * 255)
        elif layered:
            piece = piece.convert("RGBA")
            alpha = piece.getchannel("A")
        piece = piece if piece.mode == mode else piece.convert(mode)
        piece = ImageCms.applyTransform(piece, turn) if turn else piece.convert("RGB")
        if alpha:
            piece.putalpha(alpha)
            piece = Image.alpha_composite(Image.new("RGBA", piece.size, "white"), piece).convert("RGB")
        result.paste(piece, box)
    return result


def own_colors(own: Image.Image, profile: bytes, before: Pixels, after: Pixels) -> Image.Image:
    """Return a picture in its own colours and depth with the change between two (H, W, 3) arrays of its sRGB pixels.

    Where these are the same, its very values stay; grey stays grey, of 16 bits too, and transparency stays.
    """
    grey = is_deep(own) or own.mode in _GREY
    if not grey and own.mode not in _COLOR:
        return Image.fromarray(after)
    mode = "I;16" if is_deep(own) else ("L" if grey else "RGB") + "A" * is_clear(own)
    result = Image.new(mode, own.size)
    for box in _bands(own.size):
        rows = slice(box[1], box[3])
        piece = own.crop(box)
        if is_deep(own):
            piece = Image.fromarray(np.asarray(piece).astype(np.uint16))
        else:
            piece = (piece.convert("RGBA") if own.has_transparency_data else piece).convert(mode)
        result.paste(_changed(piece, profile, before[rows], after[rows]), box)
    if is_deep(own) and own.has_transparency_data:
        result.info["transparency"] = own.info["transparency"]
    return result


def _changed(own: Image.Image, profile: bytes, before: Pixels, after: Pixels) -> Image.Image:
    """Return a band in its own colours with the change from `before` to `after`; grey is brought as much lighter or darker."""
    changed = (after != before).any(-1)
    if not changed.any():
        return own
    alpha = own.getchannel("A") if own.mode in ("LA", "RGBA") else None
    values = np.asarray(own.convert(own.mode.removesuffix("A")) if alpha else own)
    if values.ndim == 2:
        step = 257 if is_deep(own) else 1
        asked = np.clip(values + step * (_luma(after) - _luma(before)), 0, 255 * step).astype(values.dtype)
    else:
        asked = np.asarray(_from_srgb(Image.fromarray(_off_white(after, alpha) if alpha else after), profile))
        changed = changed[..., None]
    result = Image.fromarray(np.where(changed, asked, values))
    if alpha:
        result.putalpha(alpha)
    return result


def _off_white(pixels: Pixels, alpha: Image.Image) -> Pixels:
    """Return the colours that look like these pixels once they lie on white by their opacity."""
    opacity = np.asarray(alpha, np.float32)[..., None] / 255
    clear = (pixels - 255 * (1 - opacity)) / np.maximum(opacity, 1 / 255)
    return np.clip(np.round(clear), 0, 255).astype(np.uint8)


def _luma(pixels: Pixels) -> NDArray[np.int32]:
    return np.asarray(Image.fromarray(pixels).convert("L"), np.int32)


def _bands(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, _BAND // width)
    return ((0, top, width, min(top + rows, height)) for top in range(0, height, rows))


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.lru_cache(maxsize=4)
def _turning(profile: bytes, mode: str, back: bool = False) -> ImageCms.ImageCmsTransform | None:
    """Return what turns a profile's colours in this mode into sRGB, or `back`; none where it has none that fits, or is sRGB."""
    if not profile or is_srgb(profile):
        return None
    try:
        other = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        ends = (_srgb(), other) if back else (other, _srgb())
        return ImageCms.buildTransform(*ends, mode, "RGB")
    except CMS_ERRORS:
        return None


def _from_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    turn = _turning(profile, "RGB", back=True)
    return ImageCms.applyTransform(image, turn) if turn else image
