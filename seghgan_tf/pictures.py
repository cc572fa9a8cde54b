"""Pictures of arrays: images to bytes, masks in colour, grids."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seghgan_tf.regions import PALETTE

Pixels = NDArray[np.uint8]


def to_pixels(image: NDArray[np.float32]) -> Pixels:
    """Turn values in [-1, 1] into uint8; any shape.

    >>> to_pixels(np.array([-1.0, 0.0, 1.0], np.float32)).tolist()
    [0, 128, 255]
    """
    return np.clip(np.round((np.asarray(image) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def from_pixels(pixels: Pixels) -> NDArray[np.float32]:
    """Turn uint8 into float32 in [-1, 1]; the inverse of `to_pixels`."""
    return np.asarray(pixels, np.float32) / 127.5 - 1.0


def color_mask(mask: NDArray[np.integer]) -> Pixels:
    """Paint class ids (..., H, W) in the palette's colours: (..., H, W, 3)."""
    return np.asarray(PALETTE, np.uint8)[np.asarray(mask, np.int64)]


def gray(values: NDArray[np.float32]) -> Pixels:
    """Show values in 0..1 (..., H, W, 1) as grey pixels (..., H, W, 3)."""
    return np.repeat(np.clip(np.round(np.asarray(values) * 255), 0, 255).astype(np.uint8), 3, axis=-1)


GAP = 2
"""Pixels between the images of a grid."""


def grid(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """Lay equally large images out in rows on white."""
    height, width = rows[0][0].shape[:2]
    canvas = np.full((len(rows) * (height + GAP) - GAP, max(map(len, rows)) * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            canvas[i * (height + GAP) :, j * (width + GAP) :][:height, :width] = image
    return canvas
