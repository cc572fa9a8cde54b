"""Edits against their true targets: how much of the error is left where pixels truly change, and what changes elsewhere."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANGED = 4 / 255
"""A pixel truly changes where any channel differs by more than this (0..1) between the photo and its true target."""


def edit_figures(image: NDArray, edited: NDArray, truth: NDArray) -> dict[str, float]:
    """Compare edits with their true targets; arrays (B, S, S, 3) in [-1, 1].

    `error_ratio` is the mean absolute error inside the pixels that truly change, of the edited photos over the unedited
    ones (0 is perfect, 1 is doing nothing); `outside_change` the mean absolute change of all other pixels, in 0..1.
    """
    sums = edit_sums(image, edited, truth).sum(0)
    return {
        "error_ratio": float(ratio(sums)),
        "outside_change": float(outside(sums)),
        "changed": float(changed_share(sums)),
    }


def edit_sums(image: NDArray, edited: NDArray, truth: NDArray) -> NDArray[np.float64]:
    """Return of each image (B, 5): the error left and the error at first where it truly changes, the change and pixels elsewhere, all pixels."""
    changed = np.abs(truth - image).max(-1) / 2 > CHANGED
    left, first, moved = (
        np.abs(a - b).mean(-1, dtype=np.float64) for a, b in ((edited, truth), (image, truth), (edited, image))
    )
    of = [left * changed, first * changed, moved * ~changed / 2, ~changed, np.ones_like(left)]
    return np.stack([values.sum((1, 2)) for values in of], -1)


def ratio(sums: NDArray, images: Any = None) -> NDArray:
    """Return `error_ratio` of sums (..., 5) over images."""
    return sums[..., 0] / sums[..., 1]


def outside(sums: NDArray, images: Any = None) -> NDArray:
    """Return `outside_change` of sums (..., 5) over images."""
    return sums[..., 2] / sums[..., 3]


def changed_share(sums: NDArray, images: Any = None) -> NDArray:
    """Return `changed` of sums (..., 5) over images."""
    return 1.0 - sums[..., 3] / sums[..., 4]
