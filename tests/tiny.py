"""A segmenter of one layer, for tests of what is around it: a step with it is traced in half the time of a U-Net's."""

import keras

from seghgan_tf.model.segmenters import SEGMENTERS, Segmenter
from tests.conftest import TINY


def one_layer(image_size, classes, width):
    image = keras.Input((image_size, image_size, 3))
    logits = keras.layers.Conv2D(classes, 3, padding="same", dtype="float32")(image)
    return keras.Model(image, logits, name="segmenter")


SEGMENTERS["one-layer"] = Segmenter(one_layer, 1, hard=False)

TINIEST = TINY | {"segmenter": "one-layer"}
