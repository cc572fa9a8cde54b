"""The segmenters to choose among: a new one is its file and a line here."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from seghgan_tf.model.bisenet import bisenet
from seghgan_tf.model.unet import unet


class Segmenter(NamedTuple):
    """How a segmenter is built, `build(image_size, classes, width)`, and whether it learns from hard pixels alone.

    The network gives (B, S, S, classes) logits, or a list of them with the segmentation first and auxiliary heads after it.
    """

    build: Callable[[int, int, int], keras.Model]
    hard: bool


SEGMENTERS = {"unet": Segmenter(unet, hard=False), "bisenet": Segmenter(bisenet, hard=True)}
