"""Masks from contours: the 189 landmarks of a face drawn as class ids, without any mask that people or networks made."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.color import rgb2lab

from seghgan_tf.regions import CLASSES

_JAW = (111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114)
_HAIRLINE = (112, 144, 143, 142, 141, 140, 139, 138, 137, 136, 135, 134, 109)

CONTOURS = (
    ("neck", (125, 145, 183, 184, 157, 133, 132, 131, 130, 129, 128, 127, 126)),
    ("hair", (109, 147, 148, 149, 150, 151, 152, 153, 154, 155, *_HAIRLINE)),
    ("r_ear", (109, 115, 116, 117, 118, 119, 111, 186, 110, 185)),
    ("l_ear", (112, 120, 121, 122, 123, 124, 114, 188, 113, 187)),
    ("skin", (109, 185, 110, 186, *_JAW, 188, 113, 187, *_HAIRLINE)),
    ("nose", (50, 51, 52, 61, 62, 63, 64, 180, 55, 181, 69, 68, 67, 66, 58, 57, 56)),
    ("r_brow", (71, 72, 73, 74, 75, 76, 84, 83)),
    ("l_brow", (77, 78, 79, 80, 81, 82, 86, 85)),
    ("r_eye", (18, 19, 20, 21, 22, 30, 29, 28)),
    ("l_eye", (23, 24, 25, 26, 27, 33, 32, 31)),
    ("mouth", (87, 94, 95, 96, 97, 98, 93, 103, 102, 101, 100, 99)),
    ("u_lip", (87, 88, 89, 90, 91, 92, 93, 98, 97, 96, 95, 94)),
    ("l_lip", (87, 99, 100, 101, 102, 103, 93, 108, 107, 106, 105, 104)),
)
"""Classes in the order they are drawn, each with its polygon; `l_*` lies at the picture's right."""
_FINE = 4


def contour_mask(points: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return class ids (`size`, `size`) of a face whose 189 points (x, y) are in pixels of a picture of `size`.

    What the points do not outline (clothes, glasses, hats, hair beside the face) is background; see `sharpen_hair`.
    """
    large = Image.new("L", (_FINE * size, _FINE * size), 0)
    pen = ImageDraw.Draw(large)
    for name, polygon in CONTOURS:
        outline = [(float(x), float(y)) for x, y in _FINE * _rounded(points[list(polygon)])]
        pen.polygon(outline, fill=CLASSES.index(name))
    return np.asarray(large, np.uint8)[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE]


def sharpen_hair(mask: NDArray[np.uint8], picture: NDArray[Any], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return class ids corrected by the backdrop's colour, which the picture's upper corners show.

    Hair, ears and neck that look like the backdrop become background; background above the lips that does not is hair.
    """
    size = mask.shape[0]
    lab = rgb2lab(np.asarray(picture, np.float64) / 255)
    corner = max(2, size // 16)
    corners = np.concatenate([lab[:corner, :corner], lab[:corner, -corner:]]).reshape(-1, 3)
    backdrop = ndimage.median_filter(np.linalg.norm(lab - np.median(corners, axis=0), axis=-1), 5) < 14
    outer = np.isin(mask, [CLASSES.index(name) for name in ("hair", "neck", "l_ear", "r_ear")])
    above = np.arange(size)[:, None] < points[[87, 93], 1].mean()
    sharp = np.where(outer & backdrop, 0, mask)
    sharp = np.where((mask == 0) & ~backdrop & above, CLASSES.index("hair"), sharp)
    return sharp.astype(np.uint8)


def _rounded(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut the corners of a closed polygon once (Chaikin), so that contours of few points are not angular."""
    following = np.roll(polygon, -1, 0)
    return np.stack([0.75 * polygon + 0.25 * following, 0.25 * polygon + 0.75 * following], 1).reshape(-1, 2)
