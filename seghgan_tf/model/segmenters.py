"""The segmenters to choose among: a new one is its file and a line here."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from seghgan_tf.config import ModelConfig
from seghgan_tf.model.bisenet import bisenet
from seghgan_tf.model.unet import unet


class Segmenter(NamedTuple):
    """How a segmenter is built, `build(image_size, classes, width)`; of what the side must be a multiple; and how it learns.

    The network gives (B, S, S, classes) logits, or a list of them with the segmentation first and auxiliary heads after it. `hard`
    ones learn from the pixels alone that they find hard.
    """

    build: Callable[[int, int, int], keras.Model]
    multiple: int
    hard: bool


SEGMENTERS = {"unet": Segmenter(unet, 16, hard=False), "bisenet": Segmenter(bisenet, 32, hard=True)}


def segmenter_for(config: ModelConfig) -> Segmenter:
    """Return the segmenter that a configuration names. Raises ValueError where there is none, or the image's side does not suit it."""
    found = SEGMENTERS.get(config.segmenter)
    if found is None:
        raise ValueError(f"`segmenter` must be one of {', '.join(SEGMENTERS)}. Received: {config.segmenter}")
    if config.image_size % found.multiple:
        raise ValueError(
            f"`image_size` must be a multiple of {found.multiple} because {config.segmenter} halves it. Received: {config.image_size}"
        )
    return found
