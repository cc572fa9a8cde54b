"""Frames: where a face lies in a photo, as the matrix that takes its landmarks to one place for training and editing."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Matrix = NDArray[np.float64]
"""(2, 3): takes a place x, y in the photo to a place in the result; the middle of the first pixel is at (0.5, 0.5)."""

FRAME = ((0.376, 0.472), (0.624, 0.472), (0.5, 0.624), (0.392, 0.731), (0.608, 0.731))
"""Where eyes, tip of the nose and corners of the mouth lie in CelebA-HQ, as fractions of the side.

In this order, the image's left first. Medians of what mtcnn finds in 150 photos of CelebAMask-HQ, made symmetric.
"""

FITS = 0.01
"""A photo whose corners would move by less than this share of the side is left as it is."""


def similarity(points: tuple[float, ...], size: int, margin: float = 0.0) -> Matrix:
    """Return the rotation, scaling and shift that best take landmarks to the frame, in least squares (Umeyama 1991).

    `points` are x, y of the first landmarks of FRAME: three, so that a smile moves nothing, or all five. `margin` widens the frame by this share of its side on each side. Raises ValueError for points that lie in one place.

    >>> frame = tuple(100 * x for point in FRAME for x in point)
    >>> (similarity(frame, 50).round(6) + 0.0).tolist()
    [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    """
    source = np.asarray(points, np.float64).reshape(-1, 2)
    target = (np.asarray(FRAME[: len(source)]) + margin) / (1 + 2 * margin) * size
    source_middle, target_middle = source.mean(0), target.mean(0)
    spread = source - source_middle
    variance = (spread**2).sum()
    if not np.isfinite(variance) or variance < 1e-6:
        raise ValueError(f"`points` must be different places. Received: {points}")
    complex_ratio = ((target - target_middle) @ (1, 1j) * np.conj(spread @ (1, 1j))).sum() / variance
    a, b = complex_ratio.real, complex_ratio.imag
    turn = np.array([[a, -b], [b, a]])
    return np.concatenate([turn, (target_middle - turn @ source_middle)[:, None]], axis=1)


def square(width: int, height: int, size: int) -> Matrix:
    """Return the matrix that takes the central square of a photo to `size` pixels.

    >>> square(300, 200, 100).tolist()
    [[0.5, 0.0, -25.0], [0.0, 0.5, 0.0]]
    """
    side = min(width, height)
    scale = size / side
    left, top = (width - side) // 2, (height - side) // 2
    return np.array([[scale, 0.0, 0.0 - scale * left], [0.0, scale, 0.0 - scale * top]])


def fits(matrix: Matrix, width: int, height: int, size: int) -> bool:
    """Tell whether a photo already is what `matrix` would make of it, to within FITS."""
    if (width, height) != (size, size):
        return False
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], np.float64)
    return bool(np.abs(corners @ matrix.T - corners[:, :2]).max() < FITS * size)


def warp(image: Image.Image, matrix: Matrix, size: int) -> Image.Image:
    """Return a photo warped to `size` x `size`; what lies outside the photo is its mirror image.

    Where pixels are merged, the warp is done at a multiple of the size and averaged.
    """
    image, matrix = _mirrored(image, matrix, size)
    merged = max(1, math.ceil(1 / math.hypot(matrix[0, 0], matrix[1, 0]) - 0.01))
    inverse = _inverse(merged * matrix)
    large = image.transform((merged * size,) * 2, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    return large.reduce(merged) if merged > 1 else large


def warp_mask(mask: NDArray[np.uint8], matrix: Matrix, size: int) -> NDArray[np.uint8]:
    """Return class ids warped by nearest neighbour; outside the photo is background."""
    image = Image.fromarray(mask)
    return np.asarray(
        image.transform((size, size), Image.Transform.AFFINE, _inverse(matrix), Image.Resampling.NEAREST), np.uint8
    )


def crop(image: Image.Image, size: int) -> Image.Image:
    """Return the central square of a photo at `size` pixels (Lanczos; from four times the size on after averaging, which is faster)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=2.0)


def _inverse(matrix: Matrix) -> tuple[float, ...]:
    whole = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))
    return tuple(whole[:2].ravel())


def _mirrored(image: Image.Image, matrix: Matrix, size: int) -> tuple[Image.Image, Matrix]:
    """Pad a photo with its mirror image as far as the warp reaches outside it, at most its own size."""
    whole = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))
    corners = (whole @ np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], np.float64).T)[:2].T
    low = np.ceil(np.maximum(0, -corners.min(0))).astype(int) + 1
    high = np.ceil(np.maximum(0, corners.max(0) - image.size)).astype(int) + 1
    if max(*low, *high) <= 1:
        return image, matrix
    (left, top), (right, bottom) = np.minimum(low, image.size), np.minimum(high, image.size)
    padded = np.pad(np.asarray(image), ((top, bottom), (left, right), (0, 0)), "symmetric")
    moved = matrix.copy()
    moved[:, 2] -= matrix[:, :2] @ (left, top)
    return Image.fromarray(padded), moved
