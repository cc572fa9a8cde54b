"""Figures of a trained model: segmentation, edits against their truth, expressions, and what an edit leaves alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seghgan_tf.evaluation import metrics
from seghgan_tf.model import SegHGAN
from seghgan_tf.regions import REGIONS

CHANGED = 4 / 255
"""A pixel truly changes where any channel differs by more than this (0..1) between the photo and its true target."""


class Signature:
    """A SavedModel's `serving_default` of one image input (B, S, S, 3) in [-1, 1] and one output (B, D), as a function.

    Raises ValueError where the folder's model has another signature.
    """

    def __init__(self, folder: Path) -> None:
        self.model = tf.saved_model.load(str(folder))
        self.call = self.model.signatures.get("serving_default")
        inputs = self.call.structured_input_signature[1] if self.call is not None else {}
        if len(inputs) != 1 or len(self.call.structured_outputs) != 1:
            raise ValueError(
                f"`{folder}` must be a SavedModel whose serving_default takes one image and returns one vector. Received: another"
            )
        ((self.name, spec),) = inputs.items()
        self.size = spec.shape[1]

    def __call__(self, image: tf.Tensor) -> NDArray[np.float32]:
        """Return the vectors (B, D) of images (B, S, S, 3), resized to the model's size."""
        resized = image if self.size is None else tf.image.resize(image, (self.size, self.size), antialias=True)
        (output,) = self.call(**{self.name: tf.cast(resized, tf.float32)}).values()
        return np.asarray(output)


def segmentation_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure masks on batches of image and mask, over the classes that occur in them.

    `miou` is the mean IoU, `f1` the mean F1 without the background (CelebAMask-HQ's usual figure), `iou` and `class_f1` are those
    of each class, `boundary_f1` the F1 of the borders between classes, met within 2 pixels; `confusion` counts pixels, truth down.
    """
    segment = tf.function(model.segment)
    counts: Any = 0
    borders: list[float] = []
    images = 0
    for batch in stream:
        truth, seen = np.asarray(batch["mask"]), np.asarray(segment(batch["image"])["labels"])
        counts = counts + metrics.confusion(truth, seen)
        borders.extend(metrics.boundary_f1(one, other) for one, other in zip(truth, seen, strict=True))
        images += len(truth)
    if not images:
        raise ValueError(
            "`stream` must hold at least one batch with masks. Received: none; look with `seghgan data inspect DIR`"
        )
    iou, f1 = metrics.intersection_over_union(counts), metrics.class_f1(counts)
    return {
        "miou": float(np.mean(list(iou.values()))),
        "f1": float(np.mean([value for name, value in f1.items() if name != "background"] or [0.0])),
        "boundary_f1": float(np.mean(borders)),
        "iou": iou,
        "class_f1": f1,
        "confusion": counts.tolist(),
        "images": images,
    }


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
    seen in it; `unasked_error` the same on the unedited photo, which an edit must beat. `cycle_psnr` (dB) and `cycle_ssim` compare
    the photo with the edit of its edit back to its own expression. Every image counts alike, whatever its batch. Judge and editor were
    trained together, so these figures flatter; they are for comparing runs.
    """
    space = model.config.space

    @tf.function
    def measure(image: tf.Tensor, expression: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        target = tf.roll(expression, 1, 0)
        seen, edited = model.analyze(image), model.edit(image, target)
        found = model.analyze(edited)
        errors = [tf.abs(seen - expression), tf.abs(found - target), tf.abs(seen - target)]
        back = model.edit(edited, expression)
        cycle = [tf.image.psnr(image, back, 2.0), tf.image.ssim(image, back, 2.0)]
        return tf.stack(errors, 1), tf.stack(cycle, 1)

    measured = [measure(batch["image"], batch["expression"]) for batch in stream]
    errors, cycles = (np.concatenate([np.asarray(batch[i]) for batch in measured]) for i in range(2))
    rows = errors.mean(0) * space.scale
    names = ("expression_error", "asked_error", "unasked_error")
    figures: dict[str, Any] = {name: float(row.mean()) for name, row in zip(names, rows, strict=True)}
    cycle = np.minimum(cycles, [100.0, 1.0]).mean(0)  # an exact return has no finite PSNR
    labels = {
        name: dict(zip(space.labels, map(float, row), strict=True)) for name, row in zip(names, rows, strict=True)
    }
    return figures | {
        "cycle_psnr": float(cycle[0]), "cycle_ssim": float(cycle[1]), "per_label": labels, "images": len(errors)
    }  # fmt: skip


def locality_figures(model: SegHGAN, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Measure `locality`, the most that a pixel out of a region's reach changes when that region alone is edited (it must be 0)."""
    image, asked = batch["image"], tf.roll(batch["expression"], 1, 0)
    masks = np.asarray(model.segment(image)["regions"])
    changes = {}
    for i, name in enumerate(REGIONS):
        change = np.abs(np.asarray(model.edit(image, asked, regions=[name])) - np.asarray(image)).max(-1)
        changes[name] = float(change[masks[..., i] <= 0.1].max(initial=0.0))
    return {"locality": max(changes.values())}


def leakage_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Raise one label after another and measure what is seen of all, in the user's units.

    `response` is (N asked, N seen), the mean change of what is seen per label asked for; `leakage` the mean size of its entries off the
    diagonal over the mean of those on it (0: every label alone; 1: what is asked cannot be told from what is not).
    """
    space = model.config.space
    steps = np.eye(space.size, dtype=np.float32) * (space.high - space.low) / 2

    @tf.function
    def respond(image: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        seen = model.analyze(image)
        asked = tf.clip_by_value(seen + step, space.low, space.high)
        return model.analyze(model.edit(image, asked)) - seen

    rows = [np.stack([np.asarray(respond(batch["image"], step)) for step in steps], 1) for batch in stream]
    response = np.concatenate(rows).mean(0) * space.scale
    own = np.abs(response.diagonal()).mean()
    others = np.abs(response[~np.eye(space.size, dtype=bool)]).mean() if space.size > 1 else 0.0
    return {"leakage": float(others / max(own, 1e-9)), "response": response.tolist()}


def judged_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], judge: Signature) -> dict[str, Any]:
    """Let an independent judge of expressions say what it sees in photos and in edits, in the user's units.

    `judge_error` is the judge's own error on the photos, which bounds what it can say; `judged_error` lies between what was asked of the
    edits and what it sees in them, `judged_unasked_error` the same on unedited photos.
    """
    edit = tf.function(lambda image, expression: model.edit(image, expression))
    errors = []
    for batch in stream:
        expression, asked = np.asarray(batch["expression"]), np.roll(batch["expression"], 1, 0)
        seen, edited = judge(batch["image"]), judge(edit(batch["image"], asked))
        errors.append(np.abs(np.stack([seen - expression, edited - asked, seen - asked], 1)))
    means = np.concatenate(errors).mean((0, 2)) * model.config.space.scale
    return dict(zip(("judge_error", "judged_error", "judged_unasked_error"), map(float, means), strict=True))


def realism_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], features: Signature) -> dict[str, float]:
    """Measure `fid` and `kid` between photos and their edits on the features (B, D) of a network."""
    edit = tf.function(lambda image, expression: model.edit(image, expression))
    pairs = [
        (features(batch["image"]), features(edit(batch["image"], tf.roll(batch["expression"], 1, 0))))
        for batch in stream
    ]
    photos, edits = (np.concatenate([pair[i] for pair in pairs]) for i in range(2))
    return {"fid": metrics.frechet_distance(photos, edits), "kid": metrics.kernel_distance(photos, edits)}


def evaluate_run(
    model: SegHGAN,
    segmentation: tf.data.Dataset | None = None,
    expression: tf.data.Dataset | None = None,
    *,
    judge: Signature | None = None,
    features: Signature | None = None,
) -> dict[str, Any]:
    """Measure everything that the streams allow, each to its own end, with the generators' running average in place.

    `images` says on how many images each stream was measured; `judge` sees expressions, `features` are a network's. Raises ValueError
    where there is no stream.
    """
    if segmentation is None and expression is None:
        raise ValueError("`segmentation` or `expression` must be a stream. Received: neither")
    figures: dict[str, Any] = {}
    images = {}
    with model.averaged():
        if segmentation is not None:
            figures |= segmentation_figures(model, segmentation)
            images["segmentation"] = figures["images"]
        if expression is not None:
            figures |= expression_figures(model, expression)
            images["expression"] = figures["images"]
            figures |= leakage_figures(model, expression.take(4)) | locality_figures(model, next(iter(expression)))
            if "target_image" in expression.element_spec:
                figures |= pair_figures(model, expression)
            if judge is not None:
                figures |= judged_figures(model, expression, judge)
            if features is not None:
                figures |= realism_figures(model, expression, features)
    return figures | {"images": images}
