"""The generators: an image and an expression in, the heads of an edit field out."""

from typing import Any

import keras
from keras import layers

from seghgan_tf.model.layers import InstanceNorm

KEEP = 2.0
"""Bias of the attention's head: training starts near "keep the photo" (sigmoid(2) is 0.88)."""


def _convolve(x: Any, width: int, stride: int, name: str) -> Any:
    x = layers.Conv2D(width, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(InstanceNorm(name=f"{name}_norm")(x))


def _residual(x: Any, width: int, name: str) -> Any:
    y = _convolve(x, width, 1, f"{name}a")
    y = InstanceNorm(name=f"{name}b_norm")(
        layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}b_conv")(y)
    )
    return layers.Add(name=f"{name}_sum")([x, y])


def _flow(x: Any) -> Any:
    still = keras.initializers.RandomNormal(stddev=1e-3)
    x = layers.Conv2D(
        2, 3, padding="same", activation="tanh", kernel_initializer=still, dtype="float32", name="flow_coarse"
    )(x)
    return layers.UpSampling2D(4, interpolation="bilinear", dtype="float32", name="flow")(x)


def generator(
    height: int, width: int, channels: int, filters: int, blocks: int, name: str, flow: bool = True
) -> keras.Model:
    """Build the network: (B, height, width, channels) to attention (B, height, width, 1), colour (.., 3) and `flow` (.., 2).

    `channels` holds the image, the expression's planes and, for the global generator, the region masks. Attention lies
    in 0..1, colour and flow in -1..1. The flow is made from the quarter-size features and grown bilinearly, for muscles move
    smoothly; it starts near zero. The network halves twice, so height and width must be multiples of 4; it grows back by resizing,
    then convolving, which leaves no checkerboard, and joins the encoder's features of the same size.

    >>> made = generator(32, 48, 5, 4, 1, "g")(keras.ops.zeros((1, 32, 48, 5)))
    >>> made["attention"].shape, made["color"].shape, made["flow"].shape
    (TensorShape([1, 32, 48, 1]), TensorShape([1, 32, 48, 3]), TensorShape([1, 32, 48, 2]))
    """
    inputs = keras.Input((height, width, channels), name="inputs")
    full = _convolve(inputs, filters, 1, "full")
    half = _convolve(full, 2 * filters, 2, "half")
    x = _convolve(half, 4 * filters, 2, "quarter")
    for block in range(blocks):
        x = _residual(x, 4 * filters, f"block{block}")
    heads = {"flow": _flow(x)} if flow else {}
    x = layers.Concatenate(name="half_join")([layers.UpSampling2D(name="half_up")(x), half])
    x = _convolve(x, 2 * filters, 1, "half_back")
    x = layers.Concatenate(name="full_join")([layers.UpSampling2D(name="full_up")(x), full])
    x = _convolve(x, filters, 1, "full_back")
    keep = keras.initializers.Constant(KEEP)
    heads["attention"] = layers.Conv2D(
        1, 3, padding="same", activation="sigmoid", bias_initializer=keep, dtype="float32", name="attention"
    )(x)
    heads["color"] = layers.Conv2D(3, 3, padding="same", activation="tanh", dtype="float32", name="color")(x)
    return keras.Model(inputs, heads, name=name)
