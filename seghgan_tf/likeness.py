"""Whether another form of a model edits as the model does, on drawn people whom no training sees."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from seghgan_tf.config import ModelConfig
from seghgan_tf.expressions import AUS
from seghgan_tf.pictures import from_pixels
from seghgan_tf.regions import COLUMNS

PEOPLE, SEED = 16, 2_000_003
"""How many people are drawn, and by which seed; no training seed is near it."""

Edit = Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor]]
"""Takes `image` (1, S, S, 3), `expression` (1, N) and `regions` (1, R) by name; returns `edited` (1, S, S, 3)."""


def drawn_requests(config: ModelConfig) -> list[dict[str, tf.Tensor]]:
    """Return an edit for each person: one label after the other to its most, in the whole face or in one region."""
    from tfrecords_tools.drawn_faces import draw_faces, sample_faces

    space = config.space
    pixels, _ = draw_faces(sample_faces(PEOPLE, SEED), np.zeros((PEOPLE, len(AUS)), np.float32), config.image_size)
    images, labels, columns = from_pixels(pixels), space.high * np.eye(space.size), np.eye(len(COLUMNS))
    return [
        {
            "image": tf.constant(images[i : i + 1]),
            "expression": tf.constant(labels[[i % space.size]], tf.float32),
            "regions": tf.constant(columns[[i // 2 % len(COLUMNS) if i % 2 else 0]], tf.float32),
        }
        for i in range(PEOPLE)
    ]


def likeness(option: str, plain: Edit, other: Edit, config: ModelConfig) -> float:
    """Return how far the edits of two forms of a model differ at most, in steps of 1/255 of the range.

    Raises ValueError, which names `option`, where that is 1 or more.
    """
    largest = float(np.max([_difference(plain(one), other(one)) for one in drawn_requests(config)]))
    if not largest < 1:
        raise ValueError(
            f"`{option}` must keep edits within 1/255 of the plain ones, because both are one model; export without it. "
            f"Received: {largest:.2f}/255 on {PEOPLE} drawn people"
        )
    return largest


def _difference(plain: Mapping[str, tf.Tensor], other: Mapping[str, tf.Tensor]) -> float:
    ours, theirs = (tf.clip_by_value(one["edited"], -1.0, 1.0) for one in (plain, other))
    return 127.5 * float(tf.reduce_max(tf.abs(ours - theirs)))
