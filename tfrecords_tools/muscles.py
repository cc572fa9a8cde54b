"""What action units do to the 189 landmarks of a real face: which points move how far at full strength."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from seghgan_tf.expressions import MAX_INTENSITY

Points = NDArray[np.float64]
"""(189, 2): the places x, y of WebMorph's points, in pixels of the picture."""

_BROW = ((76, 77), (75, 78), (84, 85)), ((74, 79), (73, 80), (83, 86)), ((72, 81), (71, 82))
_UPPER_RIM = ((88, 92), (89, 91), (90, 90))
_UPPER_EDGE = ((94, 98), (95, 97), (96, 96))
_LOWER_EDGE = ((99, 103), (100, 102), (101, 101))
_LOWER_RIM = ((104, 108), (105, 107), (106, 106))
_CORNERS = ((87, 93),)
_FOLDS = ((158, 161), (159, 162), (160, 163))
_CHEEKS = ((44, 49), (45, 48), (164, 167), (165, 168), (166, 169))
_WINGS = ((61, 66), (62, 67), (63, 68), (64, 69), (65, 70), (179, 182), (180, 181), (55, 55))
_CHIN = ((176, 178), (177, 177), (174, 174), (175, 175))

Push = tuple[tuple[tuple[int, int], ...], tuple[tuple[float, float], ...]]
"""Pairs of points (picture's left, right), and for each how far it goes outwards and down; the last is repeated."""

PUSHES: dict[str, tuple[Push, ...]] = {
    "AU01": ((_BROW[0], ((0, -0.15),)), (_BROW[1], ((0, -0.075),))),
    "AU02": ((_BROW[1], ((0, -0.09),)), (_BROW[2], ((0, -0.15),))),
    "AU04": ((_BROW[0], ((-0.055, 0.1),)), (_BROW[1], ((-0.035, 0.085),)), (_BROW[2], ((-0.01, 0.045),))),
    "AU06": ((_CHEEKS, ((0, -0.05), (0, -0.05), (0, -0.04))), (_FOLDS, ((0.01, -0.02),))),
    "AU09": (
        (_WINGS, ((0.02, -0.07), (0.02, -0.07), (0.02, -0.06), (0.01, -0.05), (0, -0.04), (0, -0.03))),
        (_BROW[0], ((-0.02, 0.06),)), (_BROW[1], ((-0.01, 0.03),)), (_FOLDS, ((0, -0.05), (0, -0.04), (0, -0.02))),
        (_UPPER_RIM, ((0, -0.03), (0, -0.05), (0, -0.04))), (_UPPER_EDGE, ((0, -0.02),)), (_LOWER_EDGE, ((0, -0.02),)),
        (_LOWER_RIM, ((0, -0.015),)), (((46, 47), (54, 60)), ((0, -0.03),)),
    ),
    "AU10": (
        (_UPPER_RIM, ((0, -0.06), (0, -0.1), (0, -0.09))), (_UPPER_EDGE, ((0, -0.045), (0, -0.075), (0, -0.075))),
        (_WINGS[:5], ((0.015, -0.04),)), (_FOLDS, ((0.01, -0.05), (0.02, -0.04), (0.01, -0.02))),
    ),
    "AU14": (
        (_CORNERS, ((0.05, -0.01),)), (_UPPER_RIM, ((0.03, 0.012), (0, 0.015))), (_LOWER_RIM, ((0.03, -0.015), (0, -0.02))),
    ),
    "AU15": (
        (_CORNERS, ((0.015, 0.115),)), (_UPPER_RIM, ((0, 0.06), (0, 0.01), (0, 0))),
        (_UPPER_EDGE, ((0, 0.06), (0, 0.01), (0, 0))), (_LOWER_EDGE, ((0, 0.06), (0, 0.01), (0, 0))),
        (_LOWER_RIM, ((0, 0.055), (0, 0.01), (0, 0))), (_FOLDS, ((0, 0), (0, 0.02), (0.01, 0.05))),
    ),
    "AU17": (
        (_LOWER_RIM, ((0, -0.04), (0, -0.075))), (_LOWER_EDGE, ((0, -0.02), (0, -0.045))),
        (_UPPER_EDGE, ((0, -0.02), (0, -0.045))), (_UPPER_RIM, ((0, -0.015), (0, -0.035))),
        (_CHIN, ((0, -0.07), (0, -0.085), (0, -0.08), (0, -0.05))), (((128, 130), (129, 129)), ((0, -0.02),)),
    ),
    "AU20": (
        (_CORNERS, ((0.14, 0.025),)), (_UPPER_RIM, ((0.085, 0.03), (0.04, 0.015), (0, 0.012))),
        (_UPPER_EDGE, ((0.085, 0.015), (0.04, 0), (0, 0))), (_LOWER_EDGE, ((0.085, 0.015), (0.04, 0), (0, 0))),
        (_LOWER_RIM, ((0.085, 0), (0.04, -0.015), (0, -0.02))), (_FOLDS, ((0, 0), (0.03, 0), (0.08, 0.01))),
    ),
    "AU23": (
        (_CORNERS, ((-0.035, 0),)), (_UPPER_RIM, ((-0.02, 0.03), (-0.01, 0.05), (0, 0.045))),
        (_UPPER_EDGE, ((-0.02, 0), (0, 0))), (_LOWER_EDGE, ((-0.02, 0), (0, 0))),
        (_LOWER_RIM, ((-0.02, -0.035), (-0.01, -0.06))),
    ),
    "AU25": (
        (_UPPER_EDGE, ((0, -0.05), (0, -0.09), (0, -0.1))), (_UPPER_RIM, ((0, -0.05), (0, -0.08), (0, -0.08))),
        (_LOWER_EDGE, ((0, 0.11), (0, 0.2), (0, 0.225))), (_LOWER_RIM, ((0, 0.1), (0, 0.175), (0, 0.19))),
        (_CHIN, ((0, 0.15), (0, 0.175), (0, 0.12), (0, 0.08))), (((127, 131), (128, 130), (129, 129)), ((0, 0.03), (0, 0.06))),
    ),
    "AU26": (
        (_CORNERS, ((-0.05, 0.06),)), (_UPPER_EDGE, ((-0.02, 0), (0, -0.015))), (_UPPER_RIM, ((-0.02, 0.01), (0, -0.01))),
        (_LOWER_EDGE, ((-0.03, 0.16), (0, 0.25), (0, 0.27))), (_LOWER_RIM, ((-0.03, 0.18), (0, 0.25), (0, 0.265))),
        (_CHIN, ((0, 0.25),)), (_FOLDS, ((0, 0), (-0.005, 0.01), (-0.02, 0.04))),
        (
            ((129, 129), (128, 130), (127, 131), (126, 132), (125, 133)),
            ((0, 0.24), (0, 0.23), (0, 0.18), (0, 0.1), (0, 0.03)),
        ),
    ),
}  # fmt: skip
"""For each unit what it moves, in distances of the pupils at full strength; lids (AU05, AU07, AU45) are not moved as points."""

LIDS = {
    "AU05": (0.0, 0.3, 0.0),
    "AU06": (0.0, 0.0, 0.25),
    "AU07": (0.12, 0.0, 0.4),
    "AU09": (0.05, 0.0, 0.2),
    "AU45": (1.0, 0.0, 0.0),
}
"""For each unit how far the upper lid comes down, goes up, and the lower lid comes up, in heights of the open eye."""


def eye_distance(points: Points) -> float:
    """Return the distance of the pupils in pixels."""
    return float(math.hypot(*(points[1] - points[0])))


def contract(points: Points, aus: Mapping[str, float]) -> Points:
    """Return where the muscles of `aus` (0..5) take the points of a face at rest; lids are moved by `lid_shifts` instead.

    A brow that lies low over the lid comes down less, as it has less room.
    """
    unit = eye_distance(points)
    across = (points[1] - points[0]) / unit
    down = np.array([-across[1], across[0]])
    gaps = [(points[lid] - points[brow]) @ down for brow, lid in ((83, 19), (84, 21), (85, 24), (86, 26))]
    room = float(np.clip(np.mean(gaps) / (0.26 * unit), 0.3, 1.2))
    brows = {index for third in _BROW for pair in third for index in pair}
    shift = np.zeros_like(points)
    for name, value in aus.items():
        for pairs, pushes in PUSHES.get(name, ()) if value else ():
            for number, pair in enumerate(pairs):
                out, low = pushes[min(number, len(pushes) - 1)]
                for side, index in zip((-1, 1), pair if pair[0] != pair[1] else pair[:1], strict=False):
                    held = room if low > 0 and index in brows else 1.0
                    shift[index] += value / MAX_INTENSITY * unit * (side * out * across + held * low * down)
    return points + shift


def lid_shifts(aus: Mapping[str, float]) -> tuple[float, float, float]:
    """Return how far `aus` (0..5) shut the upper lid, raise it, and raise the lower lid, each in heights of the open eye."""
    shares = np.zeros(3)
    for name, strengths in LIDS.items():
        shares += aus.get(name, 0.0) / MAX_INTENSITY * np.array(strengths)
    shut, raised, lower = shares.tolist()
    shut, raised = max(0.0, shut - raised) if shut < 1 else 1.0, max(0.0, raised - shut)
    return min(1.0, shut), raised, min(lower, 0.55) * (1 - min(1.0, shut))
