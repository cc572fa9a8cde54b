"""Augmentation: random geometry and colour for batches of images, the same geometry for their masks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from seghgan_tf.config import AugmentConfig
from seghgan_tf.regions import mirrored_classes

IMAGES = ("image", "target_image")
_LUMA = (0.299, 0.587, 0.114)
_MIRRORED = mirrored_classes()

_compiled = tf.function(jit_compile=True, autograph=False)
"""Fuses what is done to each pixel; it is only used on full batches, so each function is compiled once. What is compiled apart is worked out once;
in one piece the second step would repeat the first for each of its taps."""


class _Taps(NamedTuple):
    """Which two of the source's rows (or columns) lie about each of the result's, int32 (B, S), and the second's weight, float32 (B, S)."""

    first: Any
    second: Any
    weight: Any


def augment(batch: dict[str, Any], augmentation: AugmentConfig, seed: Any) -> dict[str, Any]:
    """Change a batch at random and turn its images into floats; equal seeds give equal batches.

    Takes uint8 `image` (B, S, S, 3) and, where present, `target_image` (same) and `mask` (B, S, S); returns images as
    float32 in [-1, 1], masks as int32, other keys untouched. Each example is shifted by up to `crop` of its side, by whole
    pixels, its border mirrored; half of them are mirrored if `flip`, which swaps left and right mask classes (action units
    are not sided, so vectors stay); each is enlarged about its centre by a factor in [1, 1 + `scale`], images bilinear, masks
    nearest, and by `turn` one side is squeezed and the other stretched, as a head turns; brightness, contrast and saturation change by up to
    `colour` each; by `light` each side may be up to so much brighter or darker, and each channel half of it. An image and its target are changed alike.
    `seed` is an integer tensor of shape (2,).
    """
    place, zoom, colour = tf.unstack(tf.random.split(seed, 3))
    count, size = tf.shape(batch["image"])[0], batch["image"].shape[1]
    rows, columns, flipped = _moved(count, size, augmentation, place)
    if augmentation.scale or augmentation.turn:
        down = _positions(count, size, augmentation.scale, zoom)
        changed = _enlarged(
            batch, (rows, down), (columns, _turned(down, augmentation.turn, tf.random.fold_in(seed, 1)))
        )
    elif augmentation.crop:
        changed = _each(batch, lambda picture: _gathered(picture, rows, columns))
    elif augmentation.flip:
        changed = _each(batch, lambda picture: _mirrored(picture, flipped))
    else:
        changed = to_float(batch)
    if augmentation.flip and "mask" in batch:
        changed["mask"] = _sided(changed["mask"], flipped)
    elif "mask" in batch:
        changed["mask"] = tf.cast(changed["mask"], tf.int32)
    if augmentation.colour:
        drawn = tf.random.stateless_uniform([3, count, 1, 1, 1], colour, -augmentation.colour, augmentation.colour)
        changed |= {key: _painted(changed[key], drawn) for key in IMAGES if key in batch}
    if augmentation.light:
        light = tf.random.stateless_uniform(
            [5, count, 1, 1, 1], tf.random.fold_in(seed, 2), -augmentation.light, augmentation.light
        )
        changed |= {key: _lit(changed[key], light) for key in IMAGES if key in batch}
    return changed


def to_float(batch: dict[str, Any]) -> dict[str, Any]:
    """Turn uint8 images into float32 in [-1, 1] and uint8 masks into int32."""
    changed = batch | {key: _scaled(batch[key]) for key in IMAGES if key in batch}
    if "mask" in batch:
        changed["mask"] = tf.cast(batch["mask"], tf.int32)
    return changed


def _moved(count: Any, size: int, augmentation: AugmentConfig, seed: Any) -> tuple[Any, Any, Any]:
    """Draw which of the source's rows and columns (B, S) each example shows, shifted and flipped, and which are flipped (B, 1)."""
    limit = round(augmentation.crop * size)
    shift_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    shift = tf.random.stateless_uniform([2, count, 1], shift_seed, -limit, limit + 1, tf.int32)
    flipped = tf.random.stateless_uniform([count, 1], flip_seed) < (0.5 if augmentation.flip else 0.0)
    place = tf.range(size)[None]
    rows = _reflect(place + shift[0], size)
    columns = _reflect(tf.where(flipped, size - 1 - place, place) + shift[1], size)
    return rows, columns, flipped


def _positions(count: Any, size: int, scale: float, seed: Any) -> Any:
    """Draw where in a picture the rows (and columns) of its enlargement about the centre lie: float32 (B, S) in 0..size - 1."""
    middle = (size - 1) / 2
    place = tf.range(size, dtype=tf.float32) - middle
    return place / tf.random.stateless_uniform([count, 1], seed, 1.0, 1.0 + scale) + middle


def _each(batch: dict[str, Any], move: Callable[[Any], Any]) -> dict[str, Any]:
    """Move the pixels of images, which become floats, and of masks."""
    changed = batch | {key: _scaled(move(batch[key])) for key in IMAGES if key in batch}
    return changed | ({"mask": move(batch["mask"])} if "mask" in batch else {})


def _turned(positions: Any, turn: float, seed: Any) -> Any:
    """Squeeze one side and stretch the other by up to `turn`; what lies at the ends of float32 positions (B, S) stays there."""
    if not turn:
        return positions
    half = (positions.shape[1] - 1) / 2
    drawn = tf.random.stateless_uniform([tf.shape(positions)[0], 1], seed, -turn, turn)
    return tf.clip_by_value(positions + drawn * ((positions / half - 1) ** 2 - 1) * half, 0.0, 2 * half)


def _enlarged(batch: dict[str, Any], down: tuple[Any, Any], across: tuple[Any, Any]) -> dict[str, Any]:
    """Take each pixel from where its positions lie among the rows, and among the columns."""

    def taps(lines: Any, positions: Any) -> _Taps:
        first = tf.cast(tf.floor(positions), tf.int32)
        second = tf.minimum(first + 1, lines.shape[1] - 1)
        weight = positions - tf.floor(positions)
        return _Taps(tf.gather(lines, first, batch_dims=1), tf.gather(lines, second, batch_dims=1), weight)

    rows, columns = taps(*down), taps(*across)
    changed = batch | {key: _across(_down(batch[key], rows), columns) for key in IMAGES if key in batch}
    if "mask" in batch:
        nearest = [
            tf.gather(lines, tf.cast(tf.floor(at + 0.5), tf.int32), batch_dims=1) for lines, at in (down, across)
        ]
        changed["mask"] = _gathered(batch["mask"], *nearest)
    return changed


def _scaled(image: Any) -> Any:
    """Turn 0..255 into [-1, 1]."""
    return tf.quantization.dequantize(tf.bitcast(image, tf.quint8), -1.0, 1.0)


@_compiled
def _gathered(picture: Any, rows: Any, columns: Any) -> Any:
    return tf.gather(tf.gather(picture, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


@_compiled
def _mirrored(picture: Any, flipped: Any) -> Any:
    flipped = tf.reshape(flipped, [-1] + [1] * (len(picture.shape) - 1))
    return tf.where(flipped, tf.reverse(picture, [2]), picture)


@_compiled
def _down(image: Any, taps: _Taps) -> Any:
    """Blend two of the rows of uint8 images for each of the result's; float32 in 0..255."""
    first, second = (
        tf.cast(tf.gather(image, rows, axis=1, batch_dims=1), tf.float32) for rows in (taps.first, taps.second)
    )
    return first + (second - first) * taps.weight[:, :, None, None]


@_compiled
def _across(image: Any, taps: _Taps) -> Any:
    """Blend two of the columns of float images in 0..255 for each of the result's, and scale to [-1, 1]."""
    first, second = (tf.gather(image, columns, axis=2, batch_dims=1) for columns in (taps.first, taps.second))
    return (first + (second - first) * taps.weight[:, None, :, None] - 127.5) / 127.5


@_compiled
def _sided(mask: Any, flipped: Any) -> Any:
    """Swap the classes of left and right in the masks that are flipped; int32."""
    mask = tf.cast(mask, tf.int32)
    return tf.where(flipped[..., None], tf.gather(tf.constant(_MIRRORED, tf.int32), mask), mask)


@_compiled
def _painted(image: Any, drawn: Any) -> Any:
    """Change brightness, contrast and saturation of float images in [-1, 1] by what is `drawn` (3, B, 1, 1, 1), then clip."""
    brightness, contrast, saturation = tf.unstack(drawn)
    grey = sum(weight * image[..., channel : channel + 1] for channel, weight in enumerate(_LUMA))
    painted = (1 + contrast) * ((1 + saturation) * image - saturation * grey) + brightness
    return tf.clip_by_value(painted, -1.0, 1.0)


@_compiled
def _lit(image: Any, drawn: Any) -> Any:
    """Multiply the light of float images in [-1, 1] by a slope across and down and by a tint, as `drawn` (5, B, 1, 1, 1), then clip."""
    across, down, *tint = tf.unstack(drawn)
    slope = tf.linspace(-1.0, 1.0, image.shape[1])
    light = (1 + across * slope[:, None] + down * slope[:, None, None]) * (1 + tf.concat(tint, -1) / 2)
    return tf.clip_by_value((image + 1) * light - 1, -1.0, 1.0)


def _reflect(index: Any, size: int) -> Any:
    """Fold pixel indices beyond either end back into 0..size - 1."""
    index = tf.abs(index)
    return tf.minimum(index, 2 * (size - 1) - index)
