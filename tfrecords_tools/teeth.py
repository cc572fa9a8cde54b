"""The inside of the mouth: teeth cut out of a person's smiling photo, and shown where the lips of another picture part."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.color import rgb2lab

from tfrecords_tools.muscles import Points, eye_distance

LIPS = (87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104)
INSIDE = (87, 94, 95, 96, 97, 98, 93, 103, 102, 101, 100, 99)


class Teeth(NamedTuple):
    """Upper teeth as seen in a smile: its picture (H, W, 3; 0..255), the rows they span in each column (-1: none), the mouth's middle."""

    picture: NDArray[Any]
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    middle: float


def find_teeth(picture: NDArray[Any], points: Points) -> NDArray[np.bool_]:
    """Return where a smile (H, W, 3; 0..255) shows teeth: what is lighter and less red than the lips, between them."""
    unit, size = eye_distance(points), picture.shape[0]
    lips = ndimage.binary_erosion(_polygon(points[list(LIPS)], size) > 0.5, iterations=max(1, round(0.024 * unit)))
    lab = rgb2lab(ndimage.gaussian_filter(np.asarray(picture, np.float64) / 255, (0.7, 0.7, 0)))
    sample = np.zeros((size, size), bool)
    for rim, edge in ((104, 99), (105, 100), (106, 101), (107, 102), (108, 103)):
        x, y = np.clip((0.65 * points[rim] + 0.35 * points[edge]).astype(int), 4, size - 5)
        sample[y - 2 : y + 3, x - 3 : x + 4] = True
    light, red = lab[..., 0] - np.median(lab[sample, 0]), lab[..., 1] - np.median(lab[sample, 1])
    found = ndimage.binary_closing(lips & (light > 8) & (red < -5), iterations=2) & lips
    labels, count = ndimage.label(found)
    if not count:
        return np.zeros((size, size), bool)
    areas = ndimage.sum(found, labels, range(1, count + 1))
    found = np.isin(labels, 1 + np.flatnonzero(areas > 0.15 * areas.max()))
    columns = np.flatnonzero(found.any(0))
    if found.sum() < 0.004 * unit**2 or np.ptp(columns) < 0.3 * unit:
        return np.zeros((size, size), bool)
    top = ndimage.median_filter(found.argmax(0)[columns], 9)
    bottom = ndimage.median_filter(size - 1 - found[::-1].argmax(0)[columns], 9)
    rows = np.arange(size)[:, None]
    filled = np.zeros_like(found)
    filled[:, columns] = (rows >= top) & (rows <= bottom)
    return filled


def cut_teeth(picture: NDArray[Any], points: Points) -> Teeth | None:
    """Return the teeth of a smile (H, W, 3; 0..255), None where too little is seen of them to fill another mouth."""
    found = find_teeth(picture, points)
    if not found.any():
        return None
    size, unit, middle = found.shape[0], eye_distance(points), points[[87, 93], 0].mean()
    there = found.any(0)
    columns = np.flatnonzero(there)
    if min(middle - columns[0], columns[-1] - middle) < 0.3 * unit or np.median(found.sum(0)[columns]) < 0.075 * unit:
        return None
    top, bottom = found.argmax(0), size - 1 - found[::-1].argmax(0)
    return Teeth(picture, np.where(there, top, -1), np.where(there, bottom, -1), float(middle))


def fill_mouth(picture: NDArray[np.float64], rest: Points, new: Points, teeth: Teeth | None) -> NDArray[np.float64]:
    """Return a picture whose parted lips (`new`; `rest` are the points of the closed mouth) show teeth and a dark inside.

    Upper teeth stay with the skull: they reach a little below the line of the closed lips, and lips uncover them.
    """
    size, unit = picture.shape[0], eye_distance(rest)
    inside = ndimage.gaussian_filter(_polygon(new[list(INSIDE)], size), 0.7)[..., None]
    lip = np.median(picture[_polygon(new[[99, 100, 101, 102, 103, 107, 106, 105]], size) > 0.5], axis=0)
    rows, columns = np.indices((size, size))
    floor, roof = (
        np.interp(np.arange(size), new[[87, *edge, 93], 0], new[[87, *edge, 93], 1])
        for edge in ((99, 100, 101, 102, 103), (94, 95, 96, 97, 98))
    )
    depth = np.clip((floor - rows) / (0.16 * unit), 0, 1)
    tongue = 0.26 * np.clip((floor - roof) / (0.1 * unit) - 1.1, 0, 1)
    hollow = (0.2 + tongue * (1 - depth) ** 1.5)[..., None] * lip * np.array([1.0, 0.8, 0.78])
    if teeth is not None:
        middle = rest[[87, 93], 0].mean()
        shown, cover = _set_teeth(teeth, middle, rest[[95, 96, 97], 1].mean() + 0.055 * unit, unit)
        shade = np.clip(0.55 + (rows - roof) / (0.06 * unit), 0.55, 1)
        shade *= np.clip(1.15 - np.abs(columns - middle) / (0.62 * unit), 0.4, 1)
        hollow = cover * shown * shade[..., None] + (1 - cover) * hollow
    return picture + inside * (hollow - picture)


def _set_teeth(teeth: Teeth, middle: float, end: float, unit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return teeth moved so that they hang at `middle` and end at the row `end`, and how much of each pixel they cover."""
    size = teeth.picture.shape[0]
    rows, columns = np.indices((size, size))
    old = np.clip(np.round(columns[0] + teeth.middle - middle).astype(int), 0, size - 1)
    top, bottom = teeth.top[old], teeth.bottom[old]
    there = bottom >= 0
    down = end - bottom[there & (np.abs(columns[0] - middle) < 0.2 * unit)].mean()
    source = np.clip(rows - down, np.minimum(top + 1, bottom), bottom)
    across = columns + teeth.middle - middle
    picture = teeth.picture.astype(np.float64)
    shown = np.stack([ndimage.map_coordinates(picture[..., c], (source, across), order=1) for c in range(3)], -1)
    sides = np.clip(ndimage.distance_transform_edt(np.pad(there, 1))[1:-1] / (0.07 * unit), 0, 1)
    cover = ndimage.gaussian_filter((there & (rows - down <= bottom)) * sides, 0.8)
    return shown, cover[..., None]


def open_mask(mask: NDArray[np.uint8], new: Points, mouth: int) -> NDArray[np.uint8]:
    """Return class ids with `mouth` where the lips are parted."""
    return np.where(_polygon(new[list(INSIDE)], mask.shape[0]) > 0.5, np.uint8(mouth), mask)


def _polygon(outline: Points, size: int) -> NDArray[np.float64]:
    """Return how much of each pixel lies inside a polygon, 0..1."""
    fine = 4
    image = Image.new("L", (fine * size, fine * size))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in fine * outline], fill=255)
    return np.asarray(image.reduce(fine), np.float64) / 255
