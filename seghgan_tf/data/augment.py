"""Augmentation: geometry and colour drawn for batches of images, the same geometry for their masks; applied by the training step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from seghgan_tf.config import AugmentConfig
from seghgan_tf.regions import mirrored_classes

IMAGES = ("image", "target_image")
_LUMA = (0.299, 0.587, 0.114)
_MIRRORED = mirrored_classes()

_compiled = tf.function(jit_compile=True, autograph=False)
"""Fuses what is done to each pixel; training's batches are full, so each function is compiled once. What is compiled apart is worked out once;
in one piece the second step would repeat the first for each of its taps."""


class _Taps(NamedTuple):
    """Which two of the source's rows (or columns) lie about each of the result's, int32 (B, S), and the second's weight, float32 (B, S)."""

    first: Any
    second: Any
    weight: Any


def draw(augmentation: AugmentConfig, count: int, size: int, seed: Any) -> dict[str, Any]:
    """Draw how each of `count` examples of `size` pixels a side is to be changed; equal seeds, integer tensors (2,), draw alike.

    Returns, of what `augmentation` asks for: `shift` int32 (B, 2), pixels down and right; `flipped` bool (B,); `scale` float32 (B,), how
    much larger; `turn` float32 (B,), how far one side is squeezed; `colour` (B, 3), change of brightness, contrast and saturation;
    `light` (B, 5), slope across and down and tint of each channel.
    """
    place, zoom, paint = tf.unstack(tf.random.split(seed, 3))
    shifting, flipping = tf.unstack(tf.random.split(place, 2))
    turning, lighting = tf.random.fold_in(seed, 1), tf.random.fold_in(seed, 2)
    uniform, limit, drawn = tf.random.stateless_uniform, round(augmentation.crop * size), {}
    if limit:
        drawn["shift"] = tf.transpose(uniform([2, count], shifting, -limit, limit + 1, tf.int32))
    if augmentation.flip:
        drawn["flipped"] = uniform([count], flipping) < 0.5
    if augmentation.scale:
        drawn["scale"] = uniform([count], zoom, 1.0, 1.0 + augmentation.scale)
    if augmentation.turn:
        drawn["turn"] = uniform([count], turning, -augmentation.turn, augmentation.turn)
    for name, numbers, drawing in (("colour", 3, paint), ("light", 5, lighting)):
        if strength := getattr(augmentation, name):
            drawn[name] = tf.transpose(uniform([numbers, count], drawing, -strength, strength))
    return drawn


def augment(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a batch as the loader reads it into what the networks take, changed as its `drawn` says; floats are left as they are.

    Takes uint8 `image` (B, S, S, 3) and, where present, `target_image` (same), `mask` (B, S, S) and `drawn` (of `draw`); returns images
    as float32 in [-1, 1], masks as int32, other keys untouched. Each example is shifted by whole pixels, its border mirrored; mirrored if
    `flipped`, which swaps left and right mask classes (action units are not sided, so vectors stay); enlarged about its centre, images
    bilinear, masks nearest, and one side squeezed and the other stretched, as a head turns; then its colours and its light are changed.
    An image and its target are changed alike. A training step does this on its own device, so that bytes are what is sent there.
    """
    drawn, changed = batch.get("drawn", {}), {key: values for key, values in batch.items() if key != "drawn"}
    if changed["image"].dtype != tf.uint8:
        return changed
    changed = _moved(changed, drawn)
    if "mask" in batch:
        flipped = drawn.get("flipped")
        changed["mask"] = tf.cast(changed["mask"], tf.int32) if flipped is None else _sided(changed["mask"], flipped)
    for name, change in (("colour", _painted), ("light", _lit)):
        if name in drawn:
            strengths = tf.transpose(drawn[name])[..., None, None, None]
            changed |= {key: change(changed[key], strengths) for key in IMAGES if key in batch}
    return changed


def to_float(batch: dict[str, Any]) -> dict[str, Any]:
    """Turn uint8 images into float32 in [-1, 1] and uint8 masks into int32."""
    changed = batch | {key: _scaled(batch[key]) for key in IMAGES if key in batch}
    if "mask" in batch:
        changed["mask"] = tf.cast(batch["mask"], tf.int32)
    return changed


def _moved(batch: dict[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Move the pixels of images, which become floats, and of masks."""
    if drawn.keys() & {"scale", "turn"}:
        return _enlarged(batch, drawn)
    if "shift" in drawn:
        lines = _lines(batch["image"], drawn)
        return _each(batch, lambda picture: _gathered(picture, *lines))
    if "flipped" in drawn:
        return _each(batch, lambda picture: _mirrored(picture, drawn["flipped"]))
    return to_float(batch)


def _lines(image: Any, drawn: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return which of the source's rows and columns, int32 (B, S), each example shows, shifted and flipped."""
    size = image.shape[1]
    rows = columns = tf.tile(tf.range(size)[None], [tf.shape(image)[0], 1])
    if "flipped" in drawn:
        columns = tf.where(drawn["flipped"][:, None], size - 1 - columns, columns)
    if "shift" in drawn:
        rows, columns = (_reflect(lines + drawn["shift"][:, i, None], size) for i, lines in enumerate((rows, columns)))
    return rows, columns


def _positions(image: Any, drawn: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return where in a picture the rows and the columns of its enlargement about the centre lie: float32 (B, S) in 0..size - 1."""
    half = (image.shape[1] - 1) / 2
    place = tf.tile(tf.range(image.shape[1], dtype=tf.float32)[None], [tf.shape(image)[0], 1])
    down = (place - half) / drawn["scale"][:, None] + half if "scale" in drawn else place
    if "turn" not in drawn:
        return down, down
    turned = down + drawn["turn"][:, None] * ((down / half - 1) ** 2 - 1) * half
    return down, tf.clip_by_value(turned, 0.0, 2 * half)


def _each(batch: dict[str, Any], move: Callable[[Any], Any]) -> dict[str, Any]:
    changed = batch | {key: _scaled(move(batch[key])) for key in IMAGES if key in batch}
    return changed | ({"mask": move(batch["mask"])} if "mask" in batch else {})


def _enlarged(batch: dict[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Take each pixel from where its positions lie among the rows, and among the columns."""
    down, across = zip(_lines(batch["image"], drawn), _positions(batch["image"], drawn), strict=True)

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


@_compiled
def _scaled(image: Any) -> Any:
    """Turn 0..255 into [-1, 1]."""
    return (tf.cast(image, tf.float32) - 127.5) / 127.5


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
    return tf.where(flipped[:, None, None], tf.gather(tf.constant(_MIRRORED, tf.int32), mask), mask)


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
