"""Signs that a run goes wrong, read from its history: each a sentence with a hint."""

from collections.abc import Sequence

from seghgan_tf.regions import REGIONS

VANISHED = 2e-4
"""A region whose mean probability falls under this share of the image is vanishing."""
STILL, REPAINTED = 1e-3, 0.98
"""Mean of 1 - attention under which nothing is edited, and over which the whole photo is painted anew."""
BLIND = 1e-3
"""A critic that tells real from edited by less than this, in two evaluations running, has collapsed."""
RISE = 1.5
"""A validation loss of the segmenter this many times its least is rising."""


def warnings(history: Sequence[dict[str, float]]) -> list[str]:
    """Return what is wrong at the last evaluation of `history`; figures that are absent are not judged.

    >>> warnings([{"step": 10, "attention": 0.99}])
    ['the attention repaints the whole photo; raise model.losses.attention']
    >>> warnings([{"step": 10, "attention": 0.2, "area_mouth": 0.02, "val_segmentation": 0.5}])
    []
    """
    if not history:
        return []
    last, found = history[-1], []
    if last.get("attention", 0.0) > REPAINTED:
        found.append("the attention repaints the whole photo; raise model.losses.attention")
    if last.get("attention", 1.0) < STILL:
        found.append("the attention keeps every pixel; lower model.losses.attention or raise model.losses.expression")
    if len(history) > 1 and all(abs(line.get("critic", 1.0)) < BLIND for line in history[-2:]):
        found.append("the critic sees no difference; raise training.learning_rate or model.critic_steps")
    found.extend(
        f"the {name} mask is vanishing; lower model.segmenter_gradient_cap or raise model.segmenter_steps"
        for name in REGIONS
        if last.get(f"area_{name}", 1.0) < VANISHED
    )
    segmentation = [line["val_segmentation"] for line in history if "val_segmentation" in line]
    if len(segmentation) > 2 and min(segmentation[-2:]) > RISE * min(segmentation):
        found.append(
            "the segmentation loss on validation rises; lower model.segmenter_gradient_cap, or add data.augment"
        )
    return found
