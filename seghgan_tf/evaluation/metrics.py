"""Metrics of masks and of features, on NumPy arrays; tests hold them to scikit-learn, scikit-image and SciPy."""

import numpy as np
from numpy.typing import NDArray

from seghgan_tf.regions import CLASSES


def confusion(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count class pairs: (19, 19), truth down, prediction across."""
    size = len(CLASSES)
    pairs = np.asarray(truth, np.int64).ravel() * size + np.asarray(predicted, np.int64).ravel()
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def intersection_over_union(counts: NDArray[np.int64]) -> dict[str, float]:
    """Return the IoU of every class that occurs in the truth, by name.

    >>> intersection_over_union(confusion(np.array([0, 1, 1]), np.array([0, 1, 0])))["skin"]
    0.5
    """
    hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return {name: float(hits[i] / (truth[i] + predicted[i] - hits[i])) for i, name in enumerate(CLASSES) if truth[i]}


def class_f1(counts: NDArray[np.int64]) -> dict[str, float]:
    """Return the F1 (Dice) of every class that occurs in the truth, by name.

    >>> round(class_f1(confusion(np.array([0, 1, 1]), np.array([0, 1, 0])))["skin"], 3)
    0.667
    """
    hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return {name: float(2 * hits[i] / (truth[i] + predicted[i])) for i, name in enumerate(CLASSES) if truth[i]}


def mean_iou(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean IoU over the classes that occur in the truth, of (..., 19, 19) counts."""
    hits, truth, predicted = _margins(counts)
    return _mean_where(truth > 0, hits, truth + predicted - hits)


def mean_f1(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean F1 without the background over the classes that occur in the truth, of (..., 19, 19) counts."""
    hits, truth, predicted = (values[..., 1:] for values in _margins(counts))
    return _mean_where(truth > 0, 2 * hits, truth + predicted)


def _margins(counts: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    counts = np.asarray(counts, np.float64)
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)


def _mean_where(there: NDArray[np.bool_], part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    shares = np.where(there, part / np.where(there, whole, 1.0), 0.0)
    return shares.sum(-1) / np.maximum(there.sum(-1), 1)


def borders(mask: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return where a mask (H, W) changes to the pixel on the right or below.

    >>> borders(np.array([[0, 0, 1]])).tolist()
    [[False, True, False]]
    """
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    return edge


def _near(edge: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Grow by `distance` pixels in every direction, diagonals included."""
    padded = np.pad(edge, distance)
    size = 2 * distance + 1
    rows = np.lib.stride_tricks.sliding_window_view(padded, size, 0).any(-1)
    return np.any(np.lib.stride_tricks.sliding_window_view(rows, size, 1), axis=-1)


def boundary_f1(truth: NDArray[np.integer], predicted: NDArray[np.integer], distance: int = 2) -> float:
    """Return the F1 of the borders of two masks (H, W), a border pixel counting as met within `distance` pixels.

    Two masks without a border agree: 1.

    >>> boundary_f1(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]), 1)
    1.0
    """
    true, found = borders(np.asarray(truth)), borders(np.asarray(predicted))
    if not true.any() or not found.any():
        return float(true.any() == found.any())
    precision, recall = _near(true, distance)[found].mean(), _near(found, distance)[true].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the Fréchet distance of the normal distributions of two sets of features (N, D): FID on a network's features.

    Raises ValueError for fewer than two rows.

    >>> round(frechet_distance(np.eye(4), np.eye(4)), 6)
    0.0
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"`first` and `second` must have two rows at least. Received: {len(first)} and {len(second)}")
    one, other = (np.cov(each, rowvar=False).reshape(each.shape[1], -1) for each in (first, second))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    between = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0.0)).sum()
    means = np.square(first.mean(0) - second.mean(0)).sum()
    return max(0.0, float(means + np.trace(one) + np.trace(other) - 2 * between))  # rounding alone would go below


def kernel_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets of features (N, D) under (x y / D + 1)^3: KID."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def kernel(a: NDArray, b: NDArray) -> NDArray:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    def within(a: NDArray) -> float:
        values = kernel(a, a)
        return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())
