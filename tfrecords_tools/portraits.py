"""A person of the London set as pictures: photos in one frame, their points and masks, and taught expressions made of them."""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seghgan_tf.expressions import AUS
from seghgan_tf.frames import similarity, warp
from seghgan_tf.photos import Rejected
from seghgan_tf.regions import CLASSES
from tfrecords_tools import align, images
from tfrecords_tools.contours import contour_mask, sharpen_hair
from tfrecords_tools.lessons import Look
from tfrecords_tools.muscles import Points, contract
from tfrecords_tools.photo import Reason, readable
from tfrecords_tools.readers.london import read_points
from tfrecords_tools.taught import carry_points, lids_narrowed, show, teach_flow
from tfrecords_tools.teeth import Teeth, cut_teeth, fill_mouth, find_teeth, open_mask

FINE = 2
"""How many times larger than its record a picture is while it is made."""
OPEN = 0.7
"""Least intensity of AU25 at which a smile is searched for teeth."""
OPENERS = ("AU10", "AU25", "AU26")
"""Units that part the lips."""
_MAX_PIXELS = 64_000_000


class Sitter(NamedTuple):
    """A person: two photos (neutral, smiling), the units 0..5 by which the smile differs from rest, as measured, and the photos' names."""

    subject: str
    neutral: str
    smiling: str
    smile_units: dict[str, float]
    names: tuple[str, str]


class Portrait(NamedTuple):
    """One photo in the frame: pixels (S, S, 3) uint8, points in them, class ids (S, S), units 0..5."""

    pixels: NDArray[np.uint8]
    points: Points
    mask: NDArray[np.uint8]
    units: dict[str, float]


def framed(path: str, size: int) -> tuple[Image.Image, NDArray[np.float64]]:
    """Return a photo's largest face brought to the frame by eyes and nose, so that no smile moves it, and the matrix. Raises Rejected."""
    image = images.open_picture(images.read_photo(path), _MAX_PIXELS).image
    faces = align.find_faces(image)
    if not faces:
        raise Rejected(Reason.NO_FACE, "mtcnn found no face")
    matrix = similarity(faces[0][:6], size)
    return warp(image, matrix, size), matrix


def _framed(path: str, size: int) -> tuple[Image.Image, NDArray[np.float64]]:
    """Return what `framed` does; what is Rejected names the photo, as a person has two."""
    try:
        return framed(path, size)
    except Rejected as error:
        raise Rejected(error.reason, f"{readable(os.path.basename(path))}: {error.detail}") from error


@functools.lru_cache(maxsize=8)
def _portraits(neutral: str, smiling: str, size: int) -> tuple[Portrait, Portrait]:
    framed_rest, matrix = _framed(neutral, size)
    rest, smile = np.asarray(framed_rest), np.asarray(_framed(smiling, size)[0])
    points = read_points(Path(neutral)) @ matrix[:, :2].T + matrix[:, 2]
    carried = carry_points(points, rest, smile)
    pairs = ((rest, points), (smile, carried))
    masks = [sharpen_hair(contour_mask(each, size), pixels, each) for pixels, each in pairs]
    return Portrait(rest, points, masks[0], {}), Portrait(smile, carried, masks[1], {})


def sit(sitter: Sitter, size: int) -> tuple[Portrait, Portrait]:
    """Return a person at rest and smiling, at FINE times `size`. Raises Rejected where a photo cannot be used."""
    rest, smile = _portraits(sitter.neutral, sitter.smiling, FINE * size)
    narrowed = 20 * lids_narrowed(rest.points, smile.points)
    units = {**sitter.smile_units, "AU06": float(np.clip(narrowed, 0, 5).round(2))}
    mask = smile.mask
    if units.get("AU25", 0.0) >= OPEN:
        mask = np.where(find_teeth(smile.pixels, smile.points), np.uint8(CLASSES.index("mouth")), mask)
    return rest, smile._replace(mask=mask, units=units)


def lend_teeth(sitter: Sitter, lenders: tuple[Sitter, ...], size: int) -> Teeth | None:
    """Return a person's teeth as the smile shows them, else those of the first lender whose photos can be used and whose smile does."""
    for each in (sitter, *lenders):
        if each.smile_units.get("AU25", 0.0) >= OPEN:
            teeth = _teeth(each.neutral, each.smiling, FINE * size)
            if teeth is not None:
                return teeth
    return None


@functools.lru_cache(maxsize=256)
def _teeth(neutral: str, smiling: str, size: int) -> Teeth | None:
    """Return the teeth of a smile, kept because most people borrow them from the same few."""
    try:
        smile = _portraits(neutral, smiling, size)[1]
    except Rejected:  # as the person's own sitting tells
        return None
    return cut_teeth(smile.pixels, smile.points)


def turn(
    portrait: Portrait, look: Look, teeth: Teeth | None
) -> tuple[NDArray[np.float64], NDArray[np.uint8], dict[str, float]]:
    """Return pixels (S, S, 3; 0..255), class ids and all 17 units of a portrait turned into a look."""
    taught = dict(look.units)
    units = {**dict.fromkeys(AUS, 0.0), **portrait.units, **taught}
    pixels = portrait.pixels.astype(np.float64)
    if not taught:
        return pixels, portrait.mask, units
    size = pixels.shape[0]
    flow = teach_flow(portrait.points, size, taught)
    pixels, mask = show(pixels, flow), show(portrait.mask, flow, order=0)
    if any(taught.get(name) for name in OPENERS):
        new = contract(portrait.points, taught)
        pixels = fill_mouth(pixels, portrait.points, new, teeth)
        mask = open_mask(mask, new, CLASSES.index("mouth"))
    return pixels, mask, units


def reduced(pixels: NDArray[Any]) -> Image.Image:
    """Return pixels FINE times smaller, averaged."""
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Image.fromarray(whole).reduce(FINE)
