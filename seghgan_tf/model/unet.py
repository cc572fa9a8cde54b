"""The U-Net segmenter (Ronneberger et al. 2015), with instance normalisation."""

from typing import Any

import keras
from keras import layers

from seghgan_tf.model.layers import Doubled, InstanceNorm


def _stage(x: Any, width: int, name: str) -> Any:
    for i in (1, 2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv{i}")(x)
        x = layers.ReLU(name=f"{name}_relu{i}")(InstanceNorm(name=f"{name}_norm{i}")(x))
    return x


def unet(image_size: int, classes: int, width: int, name: str = "segmenter") -> keras.Model:
    """Build the network: image (B, S, S, 3) in [-1, 1] to (B, S, S, classes) float32 logits.

    >>> unet(32, 19, 4)(keras.ops.zeros((1, 32, 32, 3))).shape
    TensorShape([1, 32, 32, 19])
    """
    image = keras.Input((image_size, image_size, 3), name="image")
    x, skips = image, []
    for depth, factor in enumerate((1, 2, 4, 4)):
        x = _stage(x, width * factor, f"down{depth}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{depth}")(x)
    x = _stage(x, width * 4, "bottom")
    for depth, factor in reversed(list(enumerate((1, 2, 4, 4)))):
        x = Doubled(name=f"up{depth}")(x)
        x = _stage(layers.Concatenate(name=f"join{depth}")([x, skips[depth]]), width * factor, f"up{depth}")
    return keras.Model(image, layers.Conv2D(classes, 1, dtype="float32", name="logits")(x), name=name)
