"""Figures of a trained model: segmentation, edits against their truth, expressions, and what an edit leaves alone."""

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seghgan_tf.evaluation import metrics
from seghgan_tf.evaluation.intervals import Figure, Rows, intervals, mean
from seghgan_tf.evaluation.networks import Signature, check_judge
from seghgan_tf.evaluation.pairs import changed_share, edit_sums, outside, ratio
from seghgan_tf.model import SegHGAN
from seghgan_tf.regions import CLASSES, REGIONS

Kept = MutableMapping[str, Rows] | None
"""Where the rows that figures come of are kept by kind, if they are wanted."""


def segmentation_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], keep: Kept = None) -> dict[str, Any]:
    """Measure masks on batches of image and mask, over the classes that occur in them.

    `miou` is the mean IoU, `f1` the mean F1 without the background (CelebAMask-HQ's usual figure), `iou` and `class_f1` those
    of each class, `boundary_f1` the F1 of the borders between classes, met within 2 pixels; `confusion` counts pixels, truth down.
    """
    segment = tf.function(model.segment)
    pixels, borders = Rows(), Rows()
    for batch in stream:
        truth, seen = np.asarray(batch["mask"]), np.asarray(segment(batch["image"])["labels"])
        pairs = list(zip(truth, seen, strict=True))
        pixels.add(batch, [metrics.confusion(*pair) for pair in pairs])
        borders.add(batch, [metrics.boundary_f1(*pair) for pair in pairs])
    if not pixels.images:
        raise ValueError(
            "`stream` must hold at least one batch with masks. Received: none; look with `seghgan data inspect DIR`"
        )
    counts = pixels.total.astype(np.int64).reshape(len(CLASSES), -1)
    return {
        "iou": metrics.intersection_over_union(counts),
        "class_f1": metrics.class_f1(counts),
        "confusion": counts.tolist(),
        "images": pixels.images,
        "people": pixels.people,
    } | _figures_of(keep, pixels=pixels, borders=borders)


def _miou(sums: NDArray, images: NDArray) -> NDArray:
    return metrics.mean_iou(sums.reshape(*sums.shape[:-1], len(CLASSES), -1))


def _f1(sums: NDArray, images: NDArray) -> NDArray:
    return metrics.mean_f1(sums.reshape(*sums.shape[:-1], len(CLASSES), -1))


def pair_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], keep: Kept = None) -> dict[str, Any]:
    """Measure `edit_figures` over batches that carry true targets."""
    edit = tf.function(lambda image, expression: model.edit(image, expression))
    rows = Rows()
    for batch in stream:
        edited = edit(batch["image"], batch["target_expression"])
        rows.add(batch, edit_sums(*map(np.asarray, (batch["image"], edited, batch["target_image"]))))
    return _figures_of(keep, pairs=rows)


def expression_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], keep: Kept = None) -> dict[str, Any]:
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

    errors, cycles = Rows(), Rows()
    for batch in stream:
        error, cycle = measure(batch["image"], batch["expression"])
        errors.add(batch, np.asarray(error) * space.scale)
        cycles.add(batch, np.minimum(cycle, [100.0, 1.0]))  # an exact return has no finite PSNR
    names = ("expression_error", "asked_error", "unasked_error")
    means = (errors.total / errors.images).reshape(len(names), -1)
    labels = {
        name: dict(zip(space.labels, map(float, row), strict=True)) for name, row in zip(names, means, strict=True)
    }
    counted = {"per_label": labels, "images": errors.images, "people": errors.people}
    return counted | _figures_of(keep, expressions=errors, cycles=cycles)


def _mean_of(number: int, parts: int) -> Figure:
    """Return the figure that is the mean of the `number`th of `parts` equal parts of a row."""
    return lambda sums, images: sums.reshape(*sums.shape[:-1], parts, -1)[..., number, :].mean(-1) / images


def locality_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure `locality`, the most that a pixel out of a region's reach changes when that region alone is edited (it must be 0)."""

    @tf.function
    def beyond(image: tf.Tensor, asked: tf.Tensor, name: str) -> tf.Tensor:
        change = tf.reduce_max(tf.abs(model.edit(image, asked, regions=[name]) - image), -1)
        mask = model.segment(image)["regions"][..., list(REGIONS).index(name)]
        return tf.reduce_max(tf.where(mask <= 0.1, change, 0.0))

    worst = [
        float(beyond(batch["image"], tf.roll(batch["expression"], 1, 0), name)) for batch in stream for name in REGIONS
    ]
    return {"locality": max(worst)}


def leakage_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], keep: Kept = None) -> dict[str, Any]:
    """Raise one label after another and measure what is seen of all, in the user's units.

    `response` is (N asked, N seen), the mean change of what is seen per label asked for; `leakage` the mean size of its entries off the
    diagonal over the mean of those on it (0: every label alone; 1: what is asked cannot be told from what is not).
    """
    space = model.config.space
    steps = np.eye(space.size, dtype=np.float32) * (space.high - space.low) / 2

    @tf.function
    def respond(image: tf.Tensor, seen: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        asked = tf.clip_by_value(seen + step, space.low, space.high)
        return model.analyze(model.edit(image, asked)) - seen

    analyze, rows = tf.function(model.analyze), Rows()
    for batch in stream:
        image, seen = batch["image"], analyze(batch["image"])
        rows.add(batch, np.stack([np.asarray(respond(image, seen, step)) for step in steps], 1) * space.scale)
    response = (rows.total / rows.images).reshape(space.size, -1)
    return {"response": response.tolist()} | _figures_of(keep, responses=rows)


def _leakage(sums: NDArray, images: NDArray) -> NDArray:
    size = math.isqrt(sums.shape[-1])
    sizes = np.abs(sums).reshape(*sums.shape[:-1], size, size)
    own = np.trace(sizes, axis1=-2, axis2=-1)
    others = (sizes.sum((-2, -1)) - own) / max(size * size - size, 1)
    return others / np.maximum(own / size, 1e-9)


def judged_figures(
    model: SegHGAN, stream: Iterable[Mapping[str, Any]], judge: Signature, keep: Kept = None
) -> dict[str, Any]:
    """Let an independent judge of expressions say what it sees in photos and in edits, in the user's units.

    `judge_error` is the judge's own error on the photos, which bounds what it can say; `judged_error` lies between what was asked of the
    edits and what it sees in them, `judged_unasked_error` the same on unedited photos.
    """
    edit = tf.function(lambda image, expression: model.edit(image, expression))
    rows = Rows()
    for batch in stream:
        expression, asked = np.asarray(batch["expression"]), np.roll(batch["expression"], 1, 0)
        seen, edited = judge(batch["image"]), judge(edit(batch["image"], asked))
        errors = np.abs(np.stack([seen - expression, edited - asked, seen - asked], 1)).mean(-1)
        rows.add(batch, errors * model.config.space.scale)
    return _figures_of(keep, judged=rows)


def realism_figures(model: SegHGAN, stream: Iterable[Mapping[str, Any]], features: Signature) -> dict[str, float]:
    """Measure `fid` and `kid` between photos and their edits on the features (B, D) of a network."""
    edit = tf.function(lambda image, expression: model.edit(image, expression))
    pairs = [
        (features(batch["image"]), features(edit(batch["image"], tf.roll(batch["expression"], 1, 0))))
        for batch in stream
    ]
    photos, edits = (np.concatenate([pair[i] for pair in pairs]) for i in range(2))
    return {"fid": metrics.frechet_distance(photos, edits), "kid": metrics.kernel_distance(photos, edits)}


def identity_figures(
    model: SegHGAN, stream: Iterable[Mapping[str, Any]], recogniser: Signature, keep: Kept = None
) -> dict[str, Any]:
    """Measure `identity`, the mean cosine distance of a photo and its edit on a face recogniser's vectors (0: the same person to it).

    `identity_others` is that of photos of two people, as far apart as strangers are; 0 where no batch shows two.
    """
    edit, rows = tf.function(lambda image, expression: model.edit(image, expression)), Rows()
    for batch in stream:
        photo, edited = recogniser(batch["image"]), recogniser(edit(batch["image"], tf.roll(batch["expression"], 1, 0)))
        names = np.asarray(batch["subject"]) if "subject" in batch else np.full(len(photo), b"")
        others = (len(photo) > 1) & ((names != np.roll(names, 1)) | (names == b""))
        far = _cosine_distance(photo, np.roll(photo, 1, 0))
        rows.add(batch, np.stack([_cosine_distance(photo, edited), far * others, others], 1))
    return _figures_of(keep, identities=rows)


def _cosine_distance(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    first, second = (values / np.linalg.norm(values, axis=-1, keepdims=True) for values in (first, second))
    return 1.0 - (first * second).sum(-1, dtype=np.float64)


def _others(sums: NDArray, images: NDArray) -> NDArray:
    return sums[..., 1] / np.maximum(sums[..., 2], 1)


FIGURES: dict[str, tuple[str, Figure]] = {
    "miou": ("pixels", _miou), "f1": ("pixels", _f1), "boundary_f1": ("borders", mean),
    "error_ratio": ("pairs", ratio), "outside_change": ("pairs", outside), "changed": ("pairs", changed_share),
    "expression_error": ("expressions", _mean_of(0, 3)), "asked_error": ("expressions", _mean_of(1, 3)),
    "unasked_error": ("expressions", _mean_of(2, 3)), "cycle_psnr": ("cycles", _mean_of(0, 2)), "cycle_ssim": ("cycles", _mean_of(1, 2)),
    "leakage": ("responses", _leakage), "judge_error": ("judged", _mean_of(0, 3)), "judged_error": ("judged", _mean_of(1, 3)),
    "judged_unasked_error": ("judged", _mean_of(2, 3)), "identity": ("identities", _mean_of(0, 3)), "identity_others": ("identities", _others),
}  # fmt: skip
"""The kind of rows that each figure is of, and how it comes of their sums."""


def _figures_of(keep: Kept, **rows: Rows) -> dict[str, Any]:
    """Return all figures of these kinds of rows and their intervals."""
    if keep is not None:
        keep.update(rows)
    found = {name: (rows[kind], of) for name, (kind, of) in FIGURES.items() if kind in rows}
    return {name: each.figure(of) for name, (each, of) in found.items()} | {"intervals": intervals(**found)}


def evaluate_run(
    model: SegHGAN,
    segmentation: tf.data.Dataset | None = None,
    expression: tf.data.Dataset | None = None,
    *,
    judge: Signature | None = None,
    features: Signature | None = None,
    identity: Signature | None = None,
    keep: Kept = None,
) -> dict[str, Any]:
    """Measure everything that the streams allow, each to its own end, with the generators' running average in place.

    `images` and `people` say on how many of them each stream was measured, `intervals` are 95 % bootstrap intervals over people; `judge`
    sees expressions, `features` are a network's, `identity` a face recogniser's; `keep` is filled with the rows. Raises ValueError where there is no stream, none for the
    judge, or where the judge does not see the model's expressions.
    """
    _check_asked(model, segmentation, expression, judge)
    figures: dict[str, Any] = {}
    counted: dict[str, dict[str, Any]] = {"images": {}, "people": {}, "intervals": {}}

    def add(found: dict[str, Any], stream: str) -> None:
        for name in ("images", "people"):
            if name in found:
                counted[name][stream] = found.pop(name)
        counted["intervals"].update(found.pop("intervals", {}))
        figures.update(found)

    with model.averaged():
        if segmentation is not None:
            add(segmentation_figures(model, segmentation, keep), "segmentation")
        if expression is not None:
            for found in _of_expressions(model, expression, judge, features, identity, keep):
                add(found, "expression")
    return figures | counted


def _check_asked(model: SegHGAN, segmentation: Any, expression: Any, judge: Signature | None) -> None:
    if segmentation is None and expression is None:
        raise ValueError("`segmentation` or `expression` must be a stream. Received: neither")
    if judge is not None and expression is None:
        raise ValueError(
            "`judge` must go with a stream of expressions. Received: a run that trains the segmenter alone"
        )
    if judge is not None:
        check_judge(judge, model.config.space, model.config.image_size)


def _of_expressions(
    model: SegHGAN, stream: tf.data.Dataset, judge: Signature | None, features: Signature | None, identity: Signature | None, keep: Kept
) -> Iterator[dict[str, Any]]:  # fmt: skip
    yield expression_figures(model, stream, keep)
    yield leakage_figures(model, stream, keep)
    yield locality_figures(model, stream)
    if "target_image" in stream.element_spec:
        yield pair_figures(model, stream, keep)
    if judge is not None:
        yield judged_figures(model, stream, judge, keep)
    if features is not None:
        yield realism_figures(model, stream, features)
    if identity is not None:
        yield identity_figures(model, stream, identity, keep)
