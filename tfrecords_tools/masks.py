"""Masks: files of class ids in either order in use, or one file a part, as arrays of our class ids."""

import contextlib
import itertools
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seghgan_tf.photos import BROKEN, Rejected, check_sums, open_header
from seghgan_tf.regions import CLASSES
from tfrecords_tools.images import read_file
from tfrecords_tools.photo import Photo, Reason, Reject, readable

Mask = NDArray[np.uint8]

BISENET = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
"""The class order of BiSeNet face-parsing repositories and what is made with them."""

ORDERS: dict[str, tuple[str, ...]] = {"g_mask": CLASSES, "bisenet": BISENET}
"""The two orders in use: CelebAMask-HQ's own (of its `g_mask.py`) and the BiSeNet repositories'."""

PARTS = CLASSES[1:]
"""Parts in the order in which the data set's own tool lays them over one another."""

LIKE = 0.85
"""Share of a face's relations that masks must show to count as masks of faces (CelebAMask-HQ: 0.97 right, at most 0.62 wrong)."""

LIKE_ONE, LIKE_SEEN = 0.5, 4
"""The same share for a single mask, and of how many relations at least (200 of CelebAMask-HQ: 0.55 or more; turned by 90 or 180 degrees or upside down: at most 0.45)."""

SIDES, MIRRORED = 3, 1.2
"""Relations between left and right from which on a mask in which all are reversed has them exchanged, and by how much better it then explains its
photo's colours mirrored (of 600 of CelebAMask-HQ 40 have them exchanged, as they were drawn on their photos: 1.14 at most)."""

CHECKED = 64
"""Masks whose layout is compared with a face's before a conversion starts."""


def to_our_ids(mask: Mask, order: str) -> Mask:
    """Rename the class ids of a mask (H, W) from the named order to ours.

    >>> to_our_ids(np.array([[2, 10]], np.uint8), "bisenet").tolist()
    [[6, 2]]
    """
    names = ORDERS[order]
    if names == CLASSES:
        return mask
    return np.array([CLASSES.index(name) for name in names], np.uint8)[mask]


SCALES = (1, 2, 4)
"""How many times as large as each other a photo and its mask may be."""


def read_mask(photo: Photo, size: tuple[int, int], max_pixels: int, notes: Counter[str]) -> Mask:
    """Read a photo's mask as our class ids, uint8 (height, width) for the photo's `size` (width, height).

    A mask of half or a quarter of the photo's size (CelebAMask-HQ's are half) is enlarged, one of twice or four times the size made smaller, by
    nearest neighbour; `notes` counts the latter, and parts that are empty. Raises Rejected.
    """
    if photo.mask is None:
        raise ValueError(f"`photo` must have a mask. Received: {photo.image_id}")
    mask = read_parts(photo.mask, notes) if photo.mask_order == "parts" else _read_ids(photo.mask, max_pixels)
    height, width = mask.shape
    times = next((n for n in SCALES if size == (n * width, n * height)), 0)
    smaller = next((n for n in SCALES if (n * size[0], n * size[1]) == (width, height)), 0)
    if not times and not smaller:
        raise Rejected(
            Reason.MASK_SIZE,
            f"the mask is {width} x {height}, the photo {size[0]} x {size[1]}; one may be 2 or 4 times as large as the other",
        )
    if photo.mask_order != "parts":
        mask = to_our_ids(mask, photo.mask_order)
    if smaller > 1:
        notes["masks larger than their photo, made smaller"] += 1
        return np.ascontiguousarray(mask[smaller // 2 :: smaller, smaller // 2 :: smaller])
    return mask.repeat(times, 0).repeat(times, 1) if times > 1 else mask


def _decoded(path: str, max_pixels: int) -> Image.Image:
    name = readable(os.path.basename(path))
    try:
        data = read_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = open_header(data)
            if image.width * image.height > max_pixels:
                raise Rejected(Reason.TOO_LARGE, f"{image.width} x {image.height} is over {max_pixels} pixels")
            image.load()
            check_sums(image, data)
    except Rejected as error:
        raise Rejected(Reason.MASK_BROKEN, f"{name}: {error.detail}") from error
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise Rejected(Reason.MASK_BROKEN, f"{name}: {error}") from error
    return image


def _read_ids(path: str, max_pixels: int) -> Mask:
    image = _decoded(path, max_pixels)
    if image.format == "JPEG" or image.mode not in ("P", "L", "1"):
        raise Rejected(
            Reason.MASK_IDS,
            f"a mask is a PNG of class ids, 8 bits a pixel; this is {image.format} of mode {image.mode}",
        )
    mask = np.asarray(image, np.uint8)
    if mask.max() >= len(CLASSES):
        raise Rejected(Reason.MASK_IDS, f"class ids are 0 to {len(CLASSES) - 1}; this has {mask.max()}")
    return mask


def read_parts(beginning: str, notes: Counter[str]) -> Mask:
    """Lay one file a part (`BEGINNING_skin.png`, ...) over one another into class ids; a part without a file is absent,
    one whose file is black is counted in `notes`.

    Later parts of PARTS cover earlier ones, as in the data set's own tool. Raises Rejected where no part or a broken one is found.
    """
    mask: Mask | None = None
    for number, part in enumerate(PARTS, 1):
        path = f"{beginning}_{part}.png"
        if not os.path.exists(path):
            continue
        inside = np.asarray(_decoded(path, 1 << 24).convert("L")) > 0
        if not inside.any():
            notes["part masks that are there but empty"] += 1
        if mask is None:
            mask = np.zeros(inside.shape, np.uint8)
        if inside.shape != mask.shape:
            raise Rejected(Reason.MASK_SIZE, f"{os.path.basename(path)} has another size than the other parts")
        mask[inside] = number
    if mask is None:
        raise Rejected(Reason.MASK_MISSING, f"no file begins with {os.path.basename(beginning)}_")
    return mask


_ABOVE = (
    ("l_brow", "l_eye"), ("r_brow", "r_eye"), ("l_eye", "nose"), ("r_eye", "nose"), ("nose", "u_lip"), ("u_lip", "l_lip"),
)  # fmt: skip
_LEFT = (("r_eye", "l_eye"), ("r_brow", "l_brow"), ("r_ear", "l_ear"), ("r_eye", "nose"), ("nose", "l_eye"))


class Arrangement(NamedTuple):
    """How many relations of a face's parts hold in a mask, of how many, and whether all of those between left and right (SIDES or more) are reversed."""

    held: int
    seen: int
    exchanged: bool


def arrangement(mask: Mask) -> Arrangement:
    """Return how the parts of a face lie in a mask of our class ids (brows above eyes, ...).

    A part is above another, or left of it, that lies in this direction and no more than 72 degrees off. Only parts that the mask has are compared.
    """
    places = _middles(mask)
    held = seen = sides = reversed_ = 0
    for axis, pairs in ((0, _ABOVE), (1, _LEFT)):
        for first, second in pairs:
            one, other = places[first], places[second]
            if one is not None and other is not None:
                way = (other[0] - one[0], other[1] - one[1])
                far = 0.3 * math.hypot(*way)
                seen, held = seen + 1, held + (way[axis] > far)
                sides, reversed_ = sides + axis, reversed_ + (axis == 1 and -way[axis] > far)
    return Arrangement(held, seen, reversed_ == sides >= SIDES)


def relations(mask: Mask) -> tuple[int, int]:
    """Return how many relations of a face's parts hold in a mask of our class ids, and of how many."""
    return arrangement(mask)[:2]


def looks_mirrored(image: Image.Image, mask: Mask) -> bool:
    """Tell whether a mask whose left and right are exchanged would lie on its photo mirrored, by the colours of each class: MIRRORED times better."""
    small = image.convert("RGB").reduce(max(1, min(image.size) // 128))
    ids = np.asarray(Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST))
    pixels = np.asarray(small, np.float64)
    pixels -= pixels.mean((0, 1))
    return _explained(pixels, ids[:, ::-1]) > MIRRORED * _explained(pixels, ids)


def _explained(pixels: NDArray[np.float64], ids: Mask) -> float:
    """Return how much of the spread of a picture's colours (H, W, 3; mean 0) the means of its classes have."""
    labels = ids.ravel()
    counts = np.bincount(labels, minlength=len(CLASSES))
    sums = (np.bincount(labels, pixels[..., channel].ravel(), len(CLASSES)) for channel in range(3))
    return sum(float((each**2 / np.maximum(counts, 1)).sum()) for each in sums)


def face_likeness(masks: Sequence[Mask]) -> float:
    """Return which share of the relations that hold in faces hold in these masks; NaN where no mask has two parts of a relation."""
    held, seen = (sum(counts) for counts in zip(*map(relations, masks), strict=True)) if masks else (0, 0)
    return held / seen if seen else float("nan")


def _middles(mask: Mask) -> dict[str, tuple[float, float] | None]:
    """Return where the middle of each part lies, row and column; None for one of fewer than 8 pixels."""
    rows, columns = (_counts(mask, axis) for axis in (0, 1))
    sizes = rows.sum(0)
    middles = [np.arange(len(counts)) @ counts / np.maximum(sizes, 1) for counts in (rows, columns)]
    return {
        name: (float(row), float(column)) if size >= 8 else None
        for name, size, row, column in zip(CLASSES, sizes, *middles, strict=True)
    }


def _counts(mask: Mask, axis: int) -> NDArray[np.int64]:
    """Return how many pixels of each class (second axis) each row or column (first axis) of a mask has."""
    lines = np.arange(mask.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    numbered = mask + len(CLASSES) * lines
    return np.bincount(numbered.ravel(), minlength=len(CLASSES) * mask.shape[axis]).reshape(-1, len(CLASSES))


def checked(entries: Iterator[Photo | Reject]) -> Iterator[Photo | Reject]:
    """Yield entries after comparing the masks among the first of them with the layout of a face; unreadable ones are passed over.

    Raises ValueError where the named order puts the parts elsewhere than faces have them.
    """
    first = list(itertools.islice(entries, 4 * CHECKED))
    stored: list[Mask] = []
    named = ""
    for photo in first:
        if isinstance(photo, Photo) and photo.mask is not None and len(stored) < CHECKED:
            named = photo.mask_order
            with contextlib.suppress(Rejected):
                stored.append(_read_ids(photo.mask, 1 << 26))
    if stored:
        _check_order(stored, named)
    return itertools.chain(first, entries)


def _check_order(stored: Sequence[Mask], named: str) -> None:
    share = {order: face_likeness([to_our_ids(mask, order) for mask in stored]) for order in ORDERS}
    if share[named] >= LIKE or np.isnan(share[named]):
        return
    other = next((order for order in ORDERS if share[order] >= LIKE), None)
    mend = "no order in use fits them (are left and right exchanged?)"
    if other:
        mend = f"they look like `--label-order {other}`"
    raise ValueError(
        f"`label-order` must be the order the masks were written in; {mend}. Received: {named}, by which the parts lie where "
        f"faces have them in only {share[named]:.0%} of the cases ({len(stored)} masks)"
    )
