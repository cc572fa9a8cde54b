"""What makes training short in tests of what is around it: a segmenter of one layer, and steps that are not traced."""

import contextlib
import warnings

import keras
import tensorflow as tf

from seghgan_tf.model.segmenters import SEGMENTERS, Segmenter
from tests.conftest import TINY


def one_layer(image_size, classes, width):
    image = keras.Input((image_size, image_size, 3))
    logits = keras.layers.Conv2D(classes, 3, padding="same", dtype="float32")(image)
    return keras.Model(image, logits, name="segmenter")


SEGMENTERS["one-layer"] = Segmenter(one_layer, 1, hard=False)

TINIEST = TINY | {"segmenter": "one-layer"}


@contextlib.contextmanager
def eagerly():
    """Run TensorFlow's functions as they are written: a few steps are not worth a trace."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the `tf.config")  # the pipeline's own stay traced
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)
