"""The demo's report: faces, masks, curves, edits beside their truth, attention, figures and times."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seghgan_tf import html as report
from seghgan_tf.config import Config
from seghgan_tf.demo.trials import FELT, PHOTO_SIZE, Images, Trials
from seghgan_tf.expressions import AU_NAMES, AUS, MAX_INTENSITY
from seghgan_tf.model import SegHGAN
from seghgan_tf.pictures import Pixels, color_mask, gray, grid, to_pixels

SHOWN_PEOPLE = 6
SHOWN_AUS = ("AU01", "AU04", "AU09", "AU12", "AU15", "AU25", "AU26", "AU45")
SHOWN_LARGE = ("AU04", "AU12", "AU26", "happy", "surprised")
ZOOM = 1.5


class Look(NamedTuple):
    """What the model sees and does in a few photos: class ids, and for some action units attention and edit."""

    labels: NDArray[np.uint8]  # (people, S, S)
    attention: NDArray[np.float32]  # (people, AUs, S, S, 1)


class Run(NamedTuple):
    """Everything the report shows."""

    config: Config
    figures: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    trials: Trials
    edited: Images
    large: Trials
    edited_large: Images
    look: Look
    exported: Path


def look(model: SegHGAN, photos: NDArray[np.float32]) -> Look:
    """Segment the first few photos and take the attention of some edits."""
    few = photos[:SHOWN_PEOPLE]
    attention = []
    for au in SHOWN_AUS:
        asked = np.zeros((len(few), len(AUS)), np.float32)
        asked[:, AUS.index(au)] = 3.0 / MAX_INTENSITY
        attention.append(model({"image": tf.constant(few), "expression": tf.constant(asked)})["attention"].numpy())
    return Look(model.segment(tf.constant(few))["labels"].numpy(), np.stack(attention, 1))


def edit_rows(trials: Trials, edited: Images, people: int, shown: Sequence[str]) -> list[list[Pixels]]:
    """Return two rows a person, the model's edits above the true pictures, the photo first in both."""
    names, rows = (*AUS, *FELT), []
    for i in range(min(people, len(trials.photos))):
        photo = to_pixels(trials.photos[i])
        for pictures in (edited[i], trials.truths[i]):
            rows.append([photo, *(to_pixels(pictures[names.index(name)]) for name in shown)])
    return rows


def _segmentation(run: Run) -> list[str]:
    few = len(run.look.labels)
    rows = [
        [to_pixels(image) for image in run.trials.photos[:few]],
        [color_mask(mask) for mask in run.look.labels],
        [color_mask(mask) for mask in run.trials.masks[:few]],
    ]
    iou = run.figures["iou"]
    best_first = sorted(iou.items(), key=lambda pair: -pair[1])
    table = report.table(("class", "IoU"), [(name, f"{value:.3f}") for name, value in best_first])
    return [
        report.image(grid(rows), "Held-out people: photo, the model's segmentation, the true mask", 2),
        f"<p>Mean IoU over the {len(iou)} classes present {run.figures['miou']:.3f}. {_alone(run.figures)}</p>",
        f"<details><summary>IoU of each class</summary>{table}</details>",
    ]


def _alone(figures: Mapping[str, Any]) -> str:
    if "miou_alone" not in figures:
        return ""
    where = "" if figures["from_scratch"] else " when the package's checkpoint was trained from nothing"
    return (
        f"A segmenter trained alone, from the same start for as many steps, reached {figures['miou_alone']:.3f}{where}."
    )


def _curves(run: Run) -> str:
    pairs = {
        "segmentation loss": ("segmentation", "val_segmentation"),
        "mean IoU": ("miou", "val_miou"),
        "L1 to the true target": ("paired", "val_paired"),
        "expression error of edits": ("expression", "val_expression"),
        "critic distance": ("critic",),
        "cycle": ("cycle", "val_cycle"),
        "gradient norms on the segmenter": ("segmentation_gradient_norm", "gan_gradient_norm"),
    }
    drawn = ""
    for title, names in pairs.items():
        lines = {name: [(line["step"], line[name]) for line in run.history if name in line] for name in names}
        drawn += report.curve(title, lines)
    return f'<div class="curves">{drawn}</div>'


def _edits(run: Run) -> list[str]:
    column = int(ZOOM * (run.trials.photos.shape[1] + 2))
    each, larger = run.figures["per_expression"], run.figures[f"per_expression_{PHOTO_SIZE}"]
    rows = []
    for name, f in each.items():
        ratios = f"{f['error_ratio']:.3f}", f"{larger[name]['error_ratio']:.3f}"
        rows.append(
            (f"{name} {AU_NAMES.get(name, '')}", *ratios, f"{f['outside_change']:.4f}", f"{100 * f['changed']:.1f} %")
        )
    ratios = f"error ratio at {run.trials.photos.shape[1]} px", f"at {PHOTO_SIZE} px"
    heads = ("unit at 3, or emotion", *ratios, "change outside", "pixels that truly change")
    edits = grid(edit_rows(run.trials, run.edited, SHOWN_PEOPLE, SHOWN_AUS))
    large = grid(edit_rows(run.large, run.edited_large, 2, SHOWN_LARGE))
    large_heads, large_column = ("photo", *SHOWN_LARGE), round(0.6 * (PHOTO_SIZE + 2))
    attention = [
        [to_pixels(photo), *map(gray, run.look.attention[i])]
        for i, photo in enumerate(run.trials.photos[: len(run.look.labels)])
    ]
    return [
        "<p>Each person twice: edited over gRPC above, <b>drawn anew with that action unit below</b> (the truth).</p>",
        report.image(edits, "Edits of held-out people, above the truth", ZOOM, ("photo", *SHOWN_AUS), column),
        "<p>Error ratio: mean absolute error to the truth inside the pixels that truly change, edited over unedited photo; 0 is perfect, 1 is doing nothing.</p>",
        report.table(heads, rows),
        f"<p>The same fields applied to photos of {PHOTO_SIZE} px, above the truth:</p>",
        report.image(large, f"Edits at {PHOTO_SIZE} px", 0.6, large_heads, large_column),
        "<h2>Attention</h2><p>White is kept from the photo, black is painted anew.</p>",
        report.image(grid(attention), "Attention of the edits", ZOOM, ("photo", *SHOWN_AUS), column),
    ]


def write_report(path: Path, run: Run, limits: Mapping[str, tuple[str, float]]) -> None:
    """Write the report; it needs no other file."""
    figures, losses = run.figures, run.config.model.losses
    reached = []
    for name, (relation, limit) in limits.items():
        passed = figures[name] >= limit if relation == ">=" else figures[name] <= limit
        reached.append((name, f"{figures[name]:.3g}", f"{relation} {limit:g}", report.verdict(passed)))
    way = f"{'continued from ' if figures['trained'] else ''}the checkpoint that comes with the package"
    if figures["from_scratch"]:
        way = "trained from nothing"
    paired = "The paired L1 is off: purely adversarial."
    if losses.paired:
        paired = f"The paired L1 to the true target is on (weight {losses.paired:g})."
    parts = [
        f'<p class="soft">Faces drawn by the program, {run.config.model.image_size} px, {figures["steps"]} steps, {way}, seed {figures["seed"]}; '
        f"figures on {figures['people']} people never trained on. {paired}</p>",
        "<h2>Figures</h2>",
        report.table(("figure", "measured", "promised", ""), reached),
        "<h2>Segmentation</h2>",
        *_segmentation(run),
        "<h2>Edits</h2>",
        *_edits(run),
        *(["<h2>Training</h2>", _curves(run)] if run.history else []),
        "<h2>Time</h2>",
        report.table(("stage", "seconds"), [*figures["stages"].items(), ("all", figures["total_seconds"])]),
        f'<p class="soft">Export: {run.exported.name} in {run.exported.parent.name}/.</p>',
    ]
    report.write(path, "SegHGAN-TF: the whole job on drawn faces", parts)
