"""Action units taught by moving landmarks: a real photo with its 189 points becomes a picture of the same person at other units."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator, RBFInterpolator
from scipy.ndimage import map_coordinates
from skimage.registration import optical_flow_tvl1

from tfrecords_tools.muscles import Points, contract, eye_distance, lid_shifts

Flow = NDArray[np.float64]
"""(2, H, W): y and x of the place in the old picture that each pixel of the new one shows."""

LIDS = (
    ((18, 19, 20, 21, 22), (18, 28, 29, 30, 22), (34, 35, 36, 37, 38), (71, 83, 84, 76)),
    ((23, 24, 25, 26, 27), (23, 31, 32, 33, 27), (39, 40, 41, 42, 43), (77, 85, 86, 82)),
)
"""For each eye (image left, image right): upper lid, lower lid, crease, lower edge of the brow, from left to right."""
CREASES = ((38, 37, 36, 35, 34), (39, 40, 41, 42, 43))
"""For each eye: points of the lid's crease, from the inner to the outer end."""
FREE = {170, 171, 172, 173, *(index for crease in CREASES for index in crease)}
"""Points that follow the skin around them: creases of the lids, and the groove above the lip."""
EYE_SPANS = ((19, 28), (20, 29), (21, 30), (24, 31), (25, 32), (26, 33))
"""Points of the upper and the lower lid that lie above each other."""
FLOW_SIDE = 256
"""Side at which optical flow is worked out."""
_COARSE = 4


def identity_flow(height: int, width: int) -> Flow:
    """Return the flow that changes nothing."""
    return np.indices((height, width), np.float64)


def spline_flow(old: Points, new: Points, size: int) -> Flow:
    """Return the smooth flow (a thin-plate spline) that takes `old` to `new`; the border of the picture, whose `size` is a multiple of 4, stays."""
    steps = np.linspace(0, size - 1, 7)
    border = np.array([(x, y) for x in steps for y in steps if {x, y} & {steps[0], steps[-1]}])
    held = [index for index in range(len(new)) if index not in FREE]
    old, new = old[held], new[held]
    new, first = np.unique(new, axis=0, return_index=True)
    at = np.concatenate([new, border])
    back = np.concatenate([old[first] - new, np.zeros_like(border)])
    grid = (np.arange(size // _COARSE) + 0.5) * _COARSE - 0.5
    places = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    coarse = RBFInterpolator(at, back)(places).reshape(len(grid), len(grid), 2).astype(np.float32)
    shift = [
        Image.fromarray(coarse[..., channel]).resize((size, size), Image.Resampling.BILINEAR) for channel in (1, 0)
    ]
    return identity_flow(size, size) + np.stack([np.asarray(each, np.float64) for each in shift])


def lids(points: Points, size: int, shut: float, raised: float, lower: float = 0.0) -> Flow:
    """Return the flow of lids that close by `shut` (0..1), open by `raised` or narrow from below by `lower` (in heights of the open eye).

    The skin between brow and lashes is stretched over the eye; what it does not cover stays in place.
    """
    flow = identity_flow(size, size)
    unit = eye_distance(points)
    for upper, under, _, brow in LIDS:
        left, right = points[upper[0], 0], points[upper[-1], 0]
        columns = np.arange(math.ceil(left) + 1, math.floor(right))
        up, low = _line(points, upper, columns), _line(points, under, columns)
        top = np.maximum(up - 0.2 * unit, _line(points, brow, columns) + 0.02 * unit)
        floors, starts = np.maximum(low, up), np.minimum(top, up - 0.05 * unit)
        for x, edge, floor, start in zip(columns, up, floors, starts, strict=True):
            flow[0, :, x] = _column(flow[0, :, x], start, edge, floor, unit, (shut, raised, lower))
    return flow


def _line(points: Points, indices: tuple[int, ...], columns: NDArray[Any]) -> NDArray[np.float64]:
    line = points[list(indices)]
    line = line[np.argsort(line[:, 0])]
    inside = np.clip(columns, line[0, 0], line[-1, 0])
    return np.asarray(PchipInterpolator(line[:, 0], line[:, 1])(inside))


def _column(
    y: NDArray[np.float64], top: float, edge: float, floor: float, unit: float, moves: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return which place of the old column each place of the new one shows."""
    shut, raised, lower = moves
    gap = floor - edge
    open_ = min(1.0, gap / (0.12 * unit))
    lash, band = 0.014 * unit * open_ * min(1.0, 4 * shut), 0.012 * unit * open_
    cut = band + 0.05 * unit * open_ * min(1.0, 2 * shut)
    bottom = floor - (0.12 * shut + lower) * gap
    lid = edge + shut * (bottom - edge) - raised * gap
    source = y.copy()
    skin = (y >= top) & (y < lid - band)
    source[skin] = top + (y[skin] - top) * (edge - cut - top) / (lid - band - top)
    rim = (y >= lid - band) & (y <= lid + lash)
    source[rim] = y[rim] - lid + edge
    if raised > 0:
        middle = edge + 0.5 * gap
        inside = (y > lid) & (y < middle)
        stretch = (middle - lid) / max(middle - edge, 1e-6)
        rest = (middle - y[inside]) / max(middle - lid, 1e-6)
        source[inside] = middle - (middle - edge) * (stretch * rest + (1 - stretch) * rest * rest)
    if bottom < floor:
        end = floor + 0.12 * unit
        below = (y > max(bottom, lid + lash)) & (y < end)
        source[below] = floor + (y[below] - bottom) * (end - floor) / (end - bottom)
    return source


def show(picture: NDArray[Any], flow: Flow, order: int = 1) -> NDArray[Any]:
    """Return a picture (H, W, C) or class ids (H, W; give `order` 0) seen through a flow."""
    if picture.ndim == 2:
        return map_coordinates(picture, flow, order=order, mode="nearest")
    return np.stack([show(picture[..., channel], flow, order) for channel in range(picture.shape[2])], -1)


def after(first: Flow, second: Flow) -> Flow:
    """Return the one flow of a picture that is seen through `first` and the result through `second`."""
    return np.stack([map_coordinates(channel, second, order=1, mode="nearest") for channel in first])


def teach_flow(points: Points, size: int, aus: Mapping[str, float]) -> Flow:
    """Return the flow that takes a face at rest, of `size` pixels with `points`, to `aus` (0..5)."""
    shifts, new = lid_shifts(aus), contract(points, aus)
    if np.array_equal(new, points):
        return lids(points, size, *shifts)
    smooth = spline_flow(points, new, size)
    return after(lids(points, size, *shifts), smooth) if any(shifts) else smooth


def carry_points(points: Points, first: NDArray[Any], second: NDArray[Any]) -> Points:
    """Return where the points of a picture (S, S, 3; 0..255) lie in another one of the same person, by optical flow (TV-L1).

    Edges of the closed lips follow the lip they belong to.
    """
    reduced = [
        np.asarray(Image.fromarray(each).resize((FLOW_SIDE,) * 2, Image.Resampling.BOX).convert("L"))
        for each in (first, second)
    ]
    flow = optical_flow_tvl1(*(each.astype(np.float32) / 255 for each in reduced), attachment=8, num_warp=6)
    places = points.copy()
    for rim, edge in ((88, 94), (104, 99)):
        places[edge : edge + 5] = 0.5 * (points[rim : rim + 5] + points[edge : edge + 5])
    scale = first.shape[0] / FLOW_SIDE
    at = (places[:, 1] / scale - 0.5, places[:, 0] / scale - 0.5)
    shift = [map_coordinates(channel, at, order=1, mode="nearest") for channel in (flow[1], flow[0])]
    return points + scale * np.stack(shift, -1)


def lids_narrowed(rest: Points, points: Points) -> float:
    """Return by which share eyes are narrower than at rest."""

    def opening(each: Points) -> float:
        return float(np.mean([each[low, 1] - each[up, 1] for up, low in EYE_SPANS]) / eye_distance(each))

    return 1 - opening(points) / opening(rest)
