"""The 19 face classes, the regions made of them, and how a mirror changes them."""

from collections.abc import Sequence
from typing import NamedTuple

CLASSES = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""Class names in id order: the order of CelebAMask-HQ's `g_mask.py`; `l_*` lies at the image's right."""

LABEL_ORDER = "celebamask-hq/g_mask/1"
"""Name of the class order, stored with data and models; another order is another name."""

PALETTE = (
    (0, 0, 0), (232, 190, 160), (200, 110, 90), (70, 70, 80), (60, 140, 230), (40, 100, 200), (120, 80, 40),
    (150, 100, 50), (240, 150, 130), (220, 130, 110), (130, 20, 40), (230, 70, 100), (200, 40, 80), (90, 60, 30),
    (170, 120, 220), (250, 220, 60), (250, 160, 60), (200, 160, 130), (90, 150, 110),
)  # fmt: skip
"""An RGB colour (0..255) for each class, for pictures of masks."""


class Region(NamedTuple):
    """A part of the face that a local generator edits.

    `classes` are its class ids; `window` is the (height, width) of its window as fractions of the image's side;
    `center` is the (y, x) where the window stands when the mask is empty; `units` are the action units that mainly show in it.
    """

    classes: tuple[int, ...]
    window: tuple[float, float]
    center: tuple[float, float]
    units: tuple[str, ...]


def _ids(*names: str) -> tuple[int, ...]:
    return tuple(CLASSES.index(name) for name in names)


REGIONS = {
    "eyes": Region(
        _ids("l_eye", "r_eye", "l_brow", "r_brow"), (0.3125, 0.625), (0.45, 0.5),
        ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU45"),
    ),
    "nose": Region(_ids("nose"), (0.375, 0.3125), (0.57, 0.5), ("AU09",)),
    "mouth": Region(
        _ids("mouth", "u_lip", "l_lip"), (0.375, 0.5), (0.72, 0.5),
        ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26"),
    ),
}  # fmt: skip
"""The regions, in the order the generators see them."""

COLUMNS = ("whole", *REGIONS)
"""Columns of an edit's `regions`: 1 where the edit may change the picture; `whole` lifts every limit."""


def region_limits(regions: Sequence[str] | None, columns: Sequence[str] = COLUMNS) -> list[float]:
    """Return the `regions` of an edit, a number a column: `whole` where they are None, else those named, which may be none.

    Raises ValueError for an unknown one.

    >>> region_limits(["mouth"])
    [0.0, 0.0, 0.0, 1.0]
    """
    chosen = columns[:1] if regions is None else regions
    if unknown := sorted(set(chosen) - set(columns)):
        raise ValueError(f"`regions` must be among {', '.join(columns[1:])}. Received: {', '.join(unknown)}")
    return [float(name in chosen) for name in columns]


def mirrored_classes() -> tuple[int, ...]:
    """Return, for each class id, the id it takes when the image is mirrored (left and right parts swap).

    >>> CLASSES[mirrored_classes()[CLASSES.index("l_eye")]]
    'r_eye'
    """
    swap = {"l_": "r_", "r_": "l_"}
    sided = {name: swap[name[:2]] + name[2:] for name in CLASSES if name[:2] in swap}
    return tuple(CLASSES.index(other if (other := sided.get(name, name)) in CLASSES else name) for name in CLASSES)
