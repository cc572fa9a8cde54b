"""Several edits of one photo in one picture: a sheet with names below, a sequence that moves there and back."""

from collections.abc import Iterable

from PIL import Image, ImageDraw

from seghgan_tf.photos import Photo, Pixels

TILE, MOVING = 320, 1024
"""Longest side in pixels of a picture on a sheet, and of a sequence."""

HELD = 1 << 26
"""Most pixels that all frames of a sequence have together, for all are held until the last is made."""


def shrunk(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """Return pixels as a picture of this width and height."""
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def moving_size(size: tuple[int, int], steps: int) -> tuple[int, int]:
    """Return the width and height of a sequence: the photo's own, unless they are over MOVING or all frames over HELD.

    >>> moving_size((800, 600), 12), moving_size((8000, 6000), 12), moving_size((1000, 1000), 240)
    ((800, 600), (1024, 768), (529, 529))
    """
    width, height = size
    return _scaled(size, min(MOVING / max(size), (HELD / (width * height * steps)) ** 0.5))


def sheet(photo: Photo, pictures: Iterable[tuple[str, Pixels]], count: int) -> Image.Image:
    """Draw the photo and `count` pictures of its size, each shrunk as soon as it comes, three in a row, its name below."""
    width, height = size = _scaled(photo.size, TILE / max(photo.size))
    rows = -(-(count + 1) // 3)
    canvas = Image.new("RGB", (3 * (width + 8) + 8, rows * (height + 30) + 8), "white")
    draw = ImageDraw.Draw(canvas)

    def show(i: int, name: str, pixels: Pixels) -> None:
        left, top = 8 + i % 3 * (width + 8), 8 + i // 3 * (height + 30)
        canvas.paste(shrunk(pixels, size), (left, top))
        draw.text((left, top + height + 4), name, fill="black", font_size=16)

    show(0, "photo", photo.pixels)
    for i, (name, pixels) in enumerate(pictures, 1):
        show(i, name, pixels)
    return canvas


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return a width and height times `scale`, never larger."""
    scale = min(1.0, scale)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
