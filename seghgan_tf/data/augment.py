"""Augmentation: random geometry and colour for batches of images, the same geometry for their masks."""

from typing import Any

import tensorflow as tf

from seghgan_tf.config import AugmentConfig
from seghgan_tf.regions import mirrored_classes

IMAGES = ("image", "target_image")
_LUMA = (0.299, 0.587, 0.114)
_MIRRORED = mirrored_classes()


def augment(batch: dict[str, Any], augmentation: AugmentConfig, seed: Any) -> dict[str, Any]:
    """Change a batch at random and turn its images into floats; equal seeds give equal batches.

    Takes uint8 `image` (B, S, S, 3) and, where present, `target_image` (same) and `mask` (B, S, S); returns images as
    float32 in [-1, 1], masks as int32, other keys untouched. A flip swaps left and right mask classes; action units are
    not sided, so vectors stay. An image and its target are changed alike. `seed` is an integer tensor of shape (2,).
    """
    seeds = tf.unstack(tf.random.split(seed, 3))
    if augmentation.flip or augmentation.crop:
        batch = shift_and_flip(batch, augmentation.crop, augmentation.flip, seeds[0])
    batch = to_float(batch)
    if augmentation.scale:
        batch = enlarge(batch, augmentation.scale, seeds[1])
    if augmentation.colour:
        batch = change_colour(batch, augmentation.colour, seeds[2])
    return batch


def to_float(batch: dict[str, Any]) -> dict[str, Any]:
    """Turn uint8 images into float32 in [-1, 1] and uint8 masks into int32."""
    changed = dict(batch)
    for key in IMAGES:
        if key in batch:
            changed[key] = tf.quantization.dequantize(tf.bitcast(batch[key], tf.quint8), -1.0, 1.0)
    if "mask" in batch:
        changed["mask"] = tf.cast(batch["mask"], tf.int32)
    return changed


def shift_and_flip(batch: dict[str, Any], crop: float, flip: bool, seed: Any) -> dict[str, Any]:
    """Shift each example by up to `crop` of its side, by whole pixels, then mirror half of them if `flip`."""
    count, size = tf.shape(batch["image"])[0], batch["image"].shape[1]
    limit = round(crop * size)
    shift_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    shift = tf.random.stateless_uniform([2, count, 1], shift_seed, -limit, limit + 1, tf.int32)
    flipped = tf.random.stateless_uniform([count, 1], flip_seed) < (0.5 if flip else 0.0)
    place = tf.range(size)[None]
    rows = _reflect(place + shift[0], size)
    columns = _reflect(tf.where(flipped, size - 1 - place, place) + shift[1], size)
    changed = dict(batch)
    for key in (*IMAGES, "mask"):
        if key in batch:
            changed[key] = tf.gather(tf.gather(batch[key], rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    if "mask" in batch:
        mirrored = tf.gather(tf.constant(_MIRRORED, batch["mask"].dtype), tf.cast(changed["mask"], tf.int32))
        changed["mask"] = tf.where(flipped[..., None], mirrored, changed["mask"])
    return changed


def enlarge(batch: dict[str, Any], scale: float, seed: Any) -> dict[str, Any]:
    """Enlarge each example about its centre by a factor in [1, 1 + `scale`]; images bilinear, masks nearest."""
    count, size = tf.shape(batch["image"])[0], batch["image"].shape[1]
    margin = 0.5 - 0.5 / tf.random.stateless_uniform([count, 1], seed, 1.0, 1.0 + scale)
    boxes = tf.concat([margin, margin, 1 - margin, 1 - margin], axis=1)
    changed = dict(batch)
    for key in IMAGES:
        if key in batch:
            changed[key] = tf.image.crop_and_resize(batch[key], boxes, tf.range(count), [size, size])
    if "mask" in batch:
        mask = tf.image.crop_and_resize(
            batch["mask"][..., None], boxes, tf.range(count), [size, size], method="nearest"
        )
        changed["mask"] = tf.cast(mask[..., 0], batch["mask"].dtype)
    return changed


def change_colour(batch: dict[str, Any], colour: float, seed: Any) -> dict[str, Any]:
    """Change brightness, contrast and saturation of float images in [-1, 1] by up to `colour` each, then clip."""
    count = tf.shape(batch["image"])[0]
    brightness, contrast, saturation = tf.unstack(tf.random.stateless_uniform([3, count, 1, 1], seed, -colour, colour))
    grey = tf.constant([[weight] * 3 for weight in _LUMA])
    mix = (1 + contrast) * ((1 + saturation) * tf.eye(3) - saturation * grey)
    changed = dict(batch)
    for key in IMAGES:
        if key in batch:
            painted = tf.einsum("bhwc,bcd->bhwd", batch[key], mix) + brightness[..., None]
            changed[key] = tf.clip_by_value(painted, -1.0, 1.0)
    return changed


def _reflect(index: Any, size: int) -> Any:
    """Fold pixel indices beyond either end back into 0..size - 1."""
    index = tf.abs(index)
    return tf.minimum(index, 2 * (size - 1) - index)
