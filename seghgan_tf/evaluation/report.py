"""What `seghgan evaluate` says: a table in the terminal, and one HTML page with pictures, intervals and matrices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from seghgan_tf import html
from seghgan_tf.model import SegHGAN
from seghgan_tf.pictures import Pixels, color_mask, gray, grid, to_pixels
from seghgan_tf.regions import CLASSES

SHOWN = 6
WORDS = {
    "miou": "mean IoU of masks over the classes that occur",
    "f1": "mean F1 of masks without the background",
    "boundary_f1": "F1 of the borders between classes, met within 2 pixels",
    "error_ratio": "edits against their true targets where they truly change: 0 perfect, 1 does nothing",
    "outside_change": "mean change elsewhere, 0..1",
    "changed": "share of pixels that truly change",
    "expression_error": "the model's own critic on photos",
    "asked_error": "asked of edits against seen in them by the model's own critic, which was trained with the editor and flatters",
    "unasked_error": "the same on unedited photos, which edits must beat",
    "judge_error": "the independent judge's own error on these photos",
    "judged_error": "asked of edits against seen in them by the independent judge",
    "judged_unasked_error": "the same on unedited photos, which edits must beat",
    "leakage": "mean size of what was not asked over that of what was",
    "locality": "most that a pixel out of a region's reach changes when that region alone is edited",
    "cycle_psnr": "photo against the edit of its edit back, dB",
    "cycle_ssim": "the same, structural similarity",
    "fid": "Fréchet distance of photos and edits on the given features",
    "kid": "kernel distance of the same",
    "identity": "cosine distance of photo and edit to the given face recogniser: 0 the same person",
    "identity_others": "the same of photos of two people",
}  # fmt: skip
"""What each figure is, in the order in which they are shown."""


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return name, value, 95 % interval and meaning of every figure that was measured.

    >>> rows({"miou": 0.5, "intervals": {"miou": [0.25, 0.75]}})
    [('miou', '0.5000', '0.2500 to 0.7500', 'mean IoU of masks over the classes that occur')]
    """
    found = []
    for name, words in WORDS.items():
        if name in figures:
            interval = figures["intervals"].get(name)
            shown = " to ".join(f"{bound:.4f}" for bound in interval) if interval else ""
            found.append((name, f"{figures[name]:.4f}", shown, words))
    return found


def counts(figures: Mapping[str, Any]) -> str:
    """Say on how many images and people each stream was measured.

    >>> counts({"images": {"segmentation": 8, "expression": 200}, "people": {"segmentation": 8, "expression": 25}})
    'masks on 8 images of 8 people; edits on 200 images of 25 people'
    """
    words = {"segmentation": "masks", "expression": "edits"}
    return "; ".join(
        f"{words[stream]} on {images} images of {figures['people'][stream]} people"
        for stream, images in figures["images"].items()
    )


def pictures(model: SegHGAN, batch: Mapping[str, Any]) -> Pixels:
    """Return rows of photo, mask and, where the batch asks for expressions, attention and edit; averaged generators, a few images."""
    image = batch["image"][:SHOWN]
    with model.averaged():
        columns = [to_pixels(image), color_mask(model.segment(image)["labels"])]
        if "expression" in batch:
            wanted = batch.get("target_expression", tf.roll(batch["expression"], 1, 0))[:SHOWN]
            edit = model({"image": image, "expression": wanted})
            columns += [gray(edit["attention"]), to_pixels(edit["edited"])]
    return grid([list(row) for row in zip(*columns, strict=True)])


def write_report(path: Path, about: str, figures: Mapping[str, Any], shown: Pixels) -> None:
    """Write the page; `about` says which run was measured on what, `shown` are `pictures`."""
    edits = ", attention (white is kept), edit to another photo's expression" if "asked_error" in figures else ""
    caption = f"Photo, mask{edits}"
    parts = [
        html.paragraph(f"{about}: {counts(figures)}."),
        "<h2>Figures</h2>",
        html.table(("figure", "measured", "95 %", ""), rows(figures)),
        html.paragraph(
            "Intervals: 1,000 bootstrap draws of people (of images where nobody is named), seed 0, percentiles."
        ),
        html.paragraph(_judged(figures)),
        "<h2>Pictures</h2>",
        html.image(shown, caption, 2),
    ]
    if "confusion" in figures:
        parts += ["<h2>Masks</h2>", *_masks(figures)]
    if "response" in figures:
        labels = list(figures["per_label"]["asked_error"])
        parts += [
            "<h2>Leakage</h2>",
            html.paragraph(
                "Asked down, seen across by the model's own critic: mean change in the user's units. Off the diagonal is leakage."
            ),
            html.matrix("asked", labels, labels, figures["response"], ".2f"),
        ]
    html.write(path, "SegHGAN-TF: evaluation", parts)


def _judged(figures: Mapping[str, Any]) -> str:
    if "judged_error" not in figures:
        return (
            ""
            if "asked_error" not in figures
            else "No independent judge was given (--judge): what is seen in edits is the model's own word."
        )
    return (
        f"The independent judge errs by {figures['judge_error']:.3f} on these photos as they are; "
        f"what it says of edits, {figures['judged_error']:.3f}, is no surer than that."
    )


def _masks(figures: Mapping[str, Any]) -> list[str]:
    table = html.table(
        ("class", "IoU", "F1"),
        [(name, f"{iou:.3f}", f"{figures['class_f1'][name]:.3f}") for name, iou in figures["iou"].items()],
    )
    pixels = np.asarray(figures["confusion"], np.float64)
    there = [i for i in range(len(CLASSES)) if pixels[i].sum()]
    shares = pixels[there] / pixels[there].sum(1, keepdims=True)
    return [
        table,
        html.paragraph("Truth down, prediction across: shares of a class's pixels."),
        html.matrix("truth", [CLASSES[i] for i in there], CLASSES, shares.tolist(), ".2f"),
    ]
