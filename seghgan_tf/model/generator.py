"""The generators: an image and an expression in, the heads of an edit field out."""

from typing import Any

import keras
from keras import layers

from seghgan_tf.model.layers import Conv2D, ExpressionNorm, InstanceNorm

KEEP = 2.0
"""Bias of the attention's head: training starts near "keep the photo" (sigmoid(2) is 0.88)."""


def _encode(x: Any, width: int, stride: int, name: str) -> Any:
    x = layers.Conv2D(width, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(InstanceNorm(name=f"{name}_norm")(x))


def _change(x: Any, expression: Any, width: int, name: str) -> Any:
    return _normalise(layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x), expression, name)


def _normalise(x: Any, expression: Any, name: str) -> Any:
    if expression is None:
        return InstanceNorm(name=f"{name}_norm")(x)
    return ExpressionNorm(name=f"{name}_norm")(x, expression)


def _residual(x: Any, expression: Any, width: int, name: str) -> Any:
    y = layers.ReLU(name=f"{name}a_relu")(_change(x, expression, width, f"{name}a"))
    return layers.Add(name=f"{name}_sum")([x, _change(y, expression, width, f"{name}b")])


def _decode(x: Any, same_size: Any, expression: Any, width: int, name: str) -> Any:
    x = Conv2D(width, name=f"{name}_back_conv")(x, same_size)
    return layers.ReLU(name=f"{name}_back_relu")(_normalise(x, expression, f"{name}_back"))


def _flow(x: Any, times: int, still: Any, name: str) -> Any:
    x = layers.Conv2D(2, 3, padding="same", activation="tanh", kernel_initializer=still, dtype="float32", name=name)(x)
    return layers.UpSampling2D(times, interpolation="bilinear", dtype="float32", name=f"{name}_up")(x)


def generator(
    height: int,
    width: int,
    labels: int,
    masks: int,
    filters: int,
    blocks: int,
    name: str,
    flow: bool = True,
    steered: bool = True,
) -> keras.Model:
    """Build the network: (B, height, width, 3 + labels + masks) to attention (B, height, width, 1), colour (.., 3) and `flow` (.., 2).

    The inputs are the image, the expression's planes and, for the global generator, the region masks. Attention lies
    in 0..1, colour in -1..1. The flow, in shares of `field.REACH`, is made from quarter-size features and refined from half-size ones, and grown
    bilinearly, for muscles move smoothly; it starts near zero. Planes are constant, and a normalisation takes constants away
    but near the border; `steered`, the expression comes back in every normalisation behind the encoder.
    The network halves twice, so height and width must be multiples of 4; it grows back by resizing,
    then convolving, which leaves no checkerboard, and joins the encoder's features of the same size.

    >>> made = generator(32, 48, 2, 0, 4, 1, "g")(keras.ops.zeros((1, 32, 48, 5)))
    >>> made["attention"].shape, made["color"].shape, made["flow"].shape
    (TensorShape([1, 32, 48, 1]), TensorShape([1, 32, 48, 3]), TensorShape([1, 32, 48, 2]))
    """
    inputs = keras.Input((height, width, 3 + labels + masks), name="inputs")
    expression = inputs[:, 0, 0, 3 : 3 + labels] if steered else None
    full = _encode(inputs, filters, 1, "full")
    half = _encode(full, 2 * filters, 2, "half")
    x = _encode(half, 4 * filters, 2, "quarter")
    for block in range(blocks):
        x = _residual(x, expression, 4 * filters, f"block{block}")
    coarse = _flow(x, 4, keras.initializers.RandomNormal(stddev=1e-3), "flow_coarse") if flow else None
    x = _decode(x, half, expression, 2 * filters, "half")
    fine = _flow(x, 2, "zeros", "flow_fine") if flow else None
    heads = {"flow": layers.Add(dtype="float32", name="flow")([coarse, fine])} if flow else {}
    x = _decode(x, full, expression, filters, "full")
    keep = keras.initializers.Constant(KEEP)
    heads["attention"] = layers.Conv2D(
        1, 3, padding="same", activation="sigmoid", bias_initializer=keep, dtype="float32", name="attention"
    )(x)
    heads["color"] = layers.Conv2D(3, 3, padding="same", activation="tanh", dtype="float32", name="color")(x)
    return keras.Model(inputs, heads, name=name)
