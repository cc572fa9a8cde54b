"""Figures of a trained model: segmentation, edits against their truth, expressions, and what an edit leaves alone."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seghgan_tf.model import SegHGAN
from seghgan_tf.regions import CLASSES

CHANGED = 4 / 255
"""A pixel truly changes where any channel differs by more than this (0..1) between the photo and its true target."""


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


def segmentation_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure `miou` over the classes present and the `iou` of each, on batches of image and mask."""
    segment = tf.function(model.segment)
    counts = sum(confusion(batch["mask"], segment(batch["image"])["labels"]) for batch in stream)
    if not isinstance(counts, np.ndarray):
        raise ValueError(
            "`stream` must hold at least one batch with masks. Received: none; look with `seghgan data inspect DIR`"
        )
    iou = intersection_over_union(counts)
    return {"miou": float(np.mean(list(iou.values()))), "iou": iou, "pixels": int(counts.sum())}


def edit_figures(image: NDArray, edited: NDArray, truth: NDArray) -> dict[str, float]:
    """Compare edits with their true targets; arrays (B, S, S, 3) in [-1, 1].

    `error_ratio` is the mean absolute error inside the pixels that truly change, of the edited photos over the unedited
    ones (0 is perfect, 1 is doing nothing); `outside_change` the mean absolute change of all other pixels, in 0..1.
    """
    changed = np.abs(truth - image).max(-1) / 2 > CHANGED
    return {
        "error_ratio": float(np.abs(edited - truth)[changed].mean() / np.abs(image - truth)[changed].mean()),
        "outside_change": float(np.abs(edited - image)[~changed].mean() / 2),
        "changed": float(changed.mean()),
    }


def pair_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Measure `edit_figures` over batches that carry true targets."""
    edit = tf.function(lambda image, expression: model.edit(image, expression))
    batches = [(b["image"], edit(b["image"], b["target_expression"]), b["target_image"]) for b in stream]
    return edit_figures(*(np.concatenate([np.asarray(batch[i]) for batch in batches]) for i in range(3)))


def expression_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure the expression head's error on photos, and on edits to other faces' expressions, in the user's units.

    `expression_error` is on the photos as they are; `asked_error` between the expression asked of an edit and the one
    seen in it; `unasked_error` the same on the unedited photo, which an edit must beat. Judge and editor were trained
    together, so these figures flatter; they are for comparing runs.
    """
    space = model.config.space

    @tf.function
    def measure(image: tf.Tensor, expression: tf.Tensor) -> tf.Tensor:
        target = tf.roll(expression, 1, 0)
        seen, edited = model.analyze(image), model.analyze(model.edit(image, target))
        errors = [tf.abs(seen - expression), tf.abs(edited - target), tf.abs(seen - target)]
        return tf.stack([tf.reduce_mean(error, 0) for error in errors])

    rows = np.mean([measure(batch["image"], batch["expression"]) for batch in stream], 0) * space.scale
    names = ("expression_error", "asked_error", "unasked_error")
    figures: dict[str, Any] = {name: float(row.mean()) for name, row in zip(names, rows, strict=True)}
    labels = {
        name: dict(zip(space.labels, map(float, row), strict=True)) for name, row in zip(names, rows, strict=True)
    }
    return figures | {"per_label": labels}


def evaluate_run(model: SegHGAN, stream: tf.data.Dataset) -> dict[str, Any]:
    """Measure everything that two-stream batches allow, with the generators' running average in place."""
    faces = stream.map(lambda batch: batch["expression"])
    with model.averaged():
        figures = segmentation_figures(model, stream.map(lambda batch: batch["segmentation"]))
        figures |= expression_figures(model, faces)
        if "target_image" in faces.element_spec:
            figures |= pair_figures(model, faces)
    return figures
