"""The critics: how real each patch of an image is, and which expression it shows (GANimation's D_I and D_y)."""

import keras
from keras import layers


def critic(height: int, width: int, expression_size: int, filters: int, name: str) -> keras.Model:
    """Build the network: image (B, height, width, 3) to realness (B, h, w, 1) and expression (B, expression_size).

    Both outputs are float32 and unbounded. No normalisation, as WGAN-GP asks, and no resizing, so that the gradient
    penalty has the second derivatives it needs.

    >>> seen = critic(32, 32, 17, 4, "d")(keras.ops.zeros((1, 32, 32, 3)))
    >>> seen["realness"].shape, seen["expression"].shape
    (TensorShape([1, 4, 4, 1]), TensorShape([1, 17]))
    """
    image = keras.Input((height, width, 3), name="image")
    x, depth = image, 0
    while min(x.shape[1], x.shape[2]) > 4:
        x = layers.Conv2D(filters * 2 ** min(depth, 3), 4, 2, padding="same", name=f"down{depth}")(x)
        x = layers.LeakyReLU(negative_slope=0.1, name=f"down{depth}_relu")(x)
        depth += 1
    realness = layers.Conv2D(1, 3, padding="same", use_bias=False, dtype="float32", name="realness")(x)
    expression = layers.Dense(expression_size, dtype="float32", name="expression")(layers.Flatten(name="flat")(x))
    return keras.Model(image, {"realness": realness, "expression": expression}, name=name)
