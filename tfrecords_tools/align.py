"""Faces found by mtcnn."""

import functools
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Found(NamedTuple):
    """A face that mtcnn found: five landmarks (x, y, ...) in pixels, the area of its box, the confidence in 0..1."""

    points: tuple[float, ...]
    area: float
    confidence: float


@functools.cache
def _detector() -> Any:
    try:
        from mtcnn import MTCNN
    except ImportError as error:
        raise ValueError(
            "`align` must find faces, for which mtcnn is missing; pip install 'seghgan-tf[data]', or give --align none"
        ) from error
    return MTCNN()


DETECTED_SIDE = 512
"""Photos are shown to mtcnn at most this large; landmarks are scaled back."""


def find_faces(image: Image.Image, min_confidence: float = 0.9) -> list[Found]:
    """Find faces with mtcnn, largest first. Raises ValueError where mtcnn is not installed."""
    scale = min(1.0, DETECTED_SIDE / max(image.size))
    small = image if scale == 1.0 else image.resize((round(image.width * scale), round(image.height * scale)))
    found = []
    for face in _detector().detect_faces(np.asarray(small)) or ():
        spots = [face["keypoints"][name] for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")]
        points = tuple(float((x + 0.5) / scale) for spot in spots for x in spot)
        if face["confidence"] >= min_confidence:
            found.append(Found(points, float(face["box"][2] * face["box"][3]) / scale**2, float(face["confidence"])))
    return sorted(found, key=lambda each: (-each.area, each.points))


def check_detector() -> None:
    """Raise ValueError where mtcnn is not installed."""
    _detector()
