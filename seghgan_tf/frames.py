"""Frames: where a face lies in a photo, as the matrix that takes its landmarks to one place for training and editing."""

import math
from collections.abc import Sequence
from typing import Any

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
    if not np.isfinite(source).all() or source.std(0).sum() < 1e-3:
        raise ValueError(f"`points` must be different places. Received: {points}")
    a, b, right, down = solved(source.tolist(), margin)
    return np.array([[a, -b, right], [b, a, down]]) * size


def solved(points: Sequence[Sequence[Any]], margin: float = 0.0) -> tuple[Any, Any, Any, Any]:
    """Return a, b, right, down of the similarity (a -b right; b a down) that takes landmarks to FRAME in a square of side 1.

    The coordinates may be numbers or tensors: this is the one alignment, of data and of photos inside the served graph.
    """
    places = [((x + margin) / (1 + 2 * margin), (y + margin) / (1 + 2 * margin)) for x, y in FRAME[: len(points)]]
    count = len(points)
    x0, y0 = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    u0, v0 = sum(u for u, _ in places) / count, sum(v for _, v in places) / count
    pairs = [(x - x0, y - y0, u - u0, v - v0) for (x, y), (u, v) in zip(points, places, strict=True)]
    spread = sum(x * x + y * y for x, y, _, _ in pairs)
    a = sum(x * u + y * v for x, y, u, v in pairs) / spread
    b = sum(x * v - y * u for x, y, u, v in pairs) / spread
    return a, b, u0 - a * x0 + b * y0, v0 - b * x0 - a * y0


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


def crop(image: Image.Image, size: int, whole: tuple[int, int] | None = None) -> Image.Image:
    """Return the central square of a photo at `size` pixels (Lanczos; from four times the size on after averaging, which is faster).

    `whole` is the width and height of the photo where its JPEG was decoded at a half, a quarter or an eighth of them.
    """
    width, height = whole or image.size
    reduced, side = round(width / image.width), min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left / reduced, top / reduced, (left + side) / reduced, (top + side) / reduced)
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
