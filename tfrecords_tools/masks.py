"""Masks: files of class ids in either order in use, or one file a part, as arrays of our class ids."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seghgan_tf.regions import CLASSES
from tfrecords_tools.images import BROKEN, FORMATS, read_file
from tfrecords_tools.photo import Photo, Reason, Rejected

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

CHECKED = 64
"""Masks whose layout is compared with a face's before a conversion starts."""


def to_our_ids(mask: Mask, order: str) -> Mask:
    """Rename the class ids of a mask (H, W) from the named order to ours.

    >>> to_our_ids(np.array([[2, 10]], np.uint8), "bisenet").tolist()
    [[6, 2]]
    """
    names = ORDERS[order]
    return np.array([CLASSES.index(name) for name in names], np.uint8)[mask]


def read_mask(photo: Photo, size: tuple[int, int], max_pixels: int) -> Mask:
    """Read a photo's mask as our class ids, uint8 (height, width) for the photo's `size` (width, height).

    A mask may be half or a quarter of the photo's size (CelebAMask-HQ's are half) and is then enlarged. Raises Rejected.
    """
    if photo.mask is None:
        raise ValueError(f"`photo` must have a mask. Received: {photo.image_id}")
    mask = read_parts(photo.mask) if photo.mask_order == "parts" else _read_ids(photo.mask, max_pixels)
    times, rest = divmod(size[0], mask.shape[1])
    if rest or times not in (1, 2, 4) or size[1] != times * mask.shape[0]:
        raise Rejected(
            Reason.MASK_SIZE,
            f"the mask is {mask.shape[1]} x {mask.shape[0]}, the photo {size[0]} x {size[1]}; it may be the same, half or a quarter",
        )
    if photo.mask_order != "parts":
        mask = to_our_ids(mask, photo.mask_order)
    return mask.repeat(times, 0).repeat(times, 1) if times > 1 else mask


def _decoded(path: str, max_pixels: int) -> Image.Image:
    data = read_file(path)
    try:
        image = Image.open(_stream(data), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise Rejected(Reason.MASK_BROKEN, f"{image.width} x {image.height} is over {max_pixels} pixels")
        image.load()
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise Rejected(Reason.MASK_BROKEN, f"{os.path.basename(path)}: {error}") from error
    return image


def _stream(data: bytes) -> "io.BytesIO":
    return io.BytesIO(data)


def _read_ids(path: str, max_pixels: int) -> Mask:
    image = _decoded(path, max_pixels)
    if image.format == "JPEG" or image.mode not in ("P", "L", "1"):
        raise Rejected(
            Reason.MASK_IDS, f"a mask is a PNG of class ids, 8 bits a pixel; this is {image.format} of mode {image.mode}"
        )
    mask = np.asarray(image, np.uint8)
    if mask.max() >= len(CLASSES):
        raise Rejected(Reason.MASK_IDS, f"class ids are 0 to {len(CLASSES) - 1}; this has {mask.max()}")
    return mask
