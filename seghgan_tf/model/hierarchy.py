"""The hierarchy: soft region masks of the segmenter, windows around them, and the fusion of the generators' fields."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from seghgan_tf.model.field import pack
from seghgan_tf.model.layers import cut, dilate, paste, planes, window_corner, window_indices
from seghgan_tf.regions import REGIONS


class Part(NamedTuple):
    """A region in a batch: its soft mask (B, S, S, 1) and the pixel indices of its window (B, h, w, 3)."""

    mask: tf.Tensor
    indices: tf.Tensor


def window_sizes(image_size: int) -> dict[str, tuple[int, int]]:
    """Return each region's window (height, width) in pixels, multiples of 4.

    >>> window_sizes(64)["mouth"]
    (24, 32)
    """
    return {
        name: (4 * round(image_size * region.window[0] / 4), 4 * round(image_size * region.window[1] / 4))
        for name, region in REGIONS.items()
    }


def shares(probabilities: tf.Tensor, *regions: str) -> tf.Tensor:
    """Return regions' probabilities (B, S, S, R): the sums of their classes' in (B, S, S, 19), as one product."""
    members = [[float(i in REGIONS[name].classes) for name in regions] for i in range(probabilities.shape[-1])]
    return tf.matmul(probabilities, tf.constant(members, probabilities.dtype))


def soft_masks(probabilities: tf.Tensor, dilation: float) -> dict[str, tf.Tensor]:
    """Return each region's soft mask (B, S, S, 1), grown by `dilation` of the side."""
    grown = dilate(shares(probabilities, *REGIONS), round(dilation * probabilities.shape[1]))
    return dict(zip(REGIONS, tf.split(grown, len(REGIONS), -1), strict=True))


def find_parts(probabilities: tf.Tensor, variant: str, dilation: float) -> dict[str, Part]:
    """Return each region's mask and window; `variant` is the model's `regions` setting.

    "joint" masks carry gradients to the probabilities (B, S, S, 19), "frozen" masks and "boxes" none; "none" has no regions.
    """
    if variant == "none":
        return {}
    if variant != "joint":
        probabilities = tf.stop_gradient(probabilities)
    masks, parts = soft_masks(probabilities, dilation), {}
    for name, window in window_sizes(probabilities.shape[1]).items():
        corner = window_corner(shares(probabilities, name), window, REGIONS[name].center)
        indices = window_indices(corner, window)
        if variant == "boxes":
            masks[name] = paste(tf.ones_like(indices[..., :1], tf.float32), indices, probabilities)
        parts[name] = Part(masks[name], indices)
    return parts


def chosen_reach(probabilities: tf.Tensor, chosen: tf.Tensor, dilation: float) -> tf.Tensor:
    """Return how far an edit may change each pixel, (B, S, S, 1) in 0..1.

    `chosen` (B, R + 1) is 1 for the whole image or for a region that may change.
    """
    chosen = chosen[:, None, None, :]
    masks = soft_masks(probabilities, dilation)
    reach = tf.reduce_max(chosen[..., 1:] * tf.concat([masks[name] for name in REGIONS], -1), -1, keepdims=True)
    return tf.where(chosen[..., :1] > 0, 1.0, tf.clip_by_value((reach - 0.1) / 0.8, 0.0, 1.0))


Network = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


def fused_field(
    image: tf.Tensor,
    expression: tf.Tensor,
    parts: Mapping[str, Part],
    generator: Network,
    local_generators: Mapping[str, Network],
) -> tf.Tensor:
    """Return the field (B, S, S, 6) of the generators: the global one's, and in each region's mask the local one's.

    field = field_g + sum of s_r (field_r - field_g), where s_r = m_r / max(1, sum of m).
    """
    masks = [part.mask for part in parts.values()]
    field = whole = _field(generator(tf.concat([image, planes(expression, image), *masks], -1)))
    cover = tf.maximum(tf.add_n(masks), 1.0) if masks else None
    for name, (mask, indices) in parts.items():
        soft = cut(mask, indices)
        window = soft * cut(image, indices)
        local = _field(local_generators[name](tf.concat([window, planes(expression, window)], -1)))
        field += paste(soft / cut(cover, indices) * (local - cut(whole, indices)), indices, image)
    return field


def _field(made: Mapping[str, Any]) -> tf.Tensor:
    return pack(made["attention"], made.get("flow"), made["color"])
