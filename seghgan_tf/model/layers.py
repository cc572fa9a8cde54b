"""Layers and image operations the networks share: normalisation, soft regions, windows."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

Shape = tuple[Any, ...]
"""Sizes of an axis each; None is an unknown one."""


@keras.saving.register_keras_serializable("seghgan")
class InstanceNorm(keras.layers.Layer):
    """Normalise each channel of each image by its own mean and variance, then scale and shift (Ulyanov et al. 2016).

    Shapes: (B, H, W, C) in and out. It holds no running statistics, so one and many replicas compute the same, and its
    graph is a tenth of `GroupNormalization`'s.
    """

    def build(self, input_shape: Shape) -> None:
        """Create the scale and the shift, one a channel."""
        self.gain = self.add_weight(name="gain", shape=(input_shape[-1],), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(input_shape[-1],), initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the images' shape; with it Keras need not trace `call` to learn it."""
        return input_shape

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the normalised images."""
        gain, shift = (tf.reshape(tf.cast(each, tf.float32), (1, 1, 1, -1)) for each in (self.gain, self.shift))
        return normalised(inputs, gain, shift)


@keras.saving.register_keras_serializable("seghgan")
class ExpressionNorm(keras.layers.Layer):
    """Instance normalisation whose scale and shift follow the expression asked for (Huang and Belongie 2017, equation 8).

    Shapes: (B, H, W, C) and expression (B, N) in, (B, H, W, C) out. An expression that comes as planes is constant over the
    image, and that is what a normalisation takes away; here it comes back. It starts as the plain one.
    """

    def build(self, inputs_shape: Shape, expression_shape: Shape) -> None:
        """Create the plain scale and shift, and what each entry of the expression adds to them."""
        channels = inputs_shape[-1]
        self.gain = self.add_weight(name="gain", shape=(channels,), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(channels,), initializer="zeros")
        shape = (expression_shape[-1], channels)
        self.gain_asked = self.add_weight(name="gain_asked", shape=shape, initializer="zeros")
        self.shift_asked = self.add_weight(name="shift_asked", shape=shape, initializer="zeros")

    def compute_output_shape(self, inputs_shape: Shape, expression_shape: Shape) -> Shape:
        """Return the images' shape."""
        return inputs_shape

    def call(self, inputs: tf.Tensor, expression: tf.Tensor) -> tf.Tensor:
        """Return the normalised images."""
        asked = tf.cast(expression, tf.float32)
        gain = tf.cast(self.gain, tf.float32) + asked @ tf.cast(self.gain_asked, tf.float32)
        shift = tf.cast(self.shift, tf.float32) + asked @ tf.cast(self.shift_asked, tf.float32)
        gain, shift = (tf.reshape(each, (-1, 1, 1, inputs.shape[-1])) for each in (gain, shift))
        return normalised(inputs, gain, shift)


_GROWN = np.array([(0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0)], np.float32)
"""How the taps of a 3-wide kernel fall on pixels before they are repeated: row m is tap m of the transposed convolution with stride 2."""


@keras.saving.register_keras_serializable("seghgan")
class Conv2D(keras.layers.Layer):
    """The 3x3 convolution of [coarse images grown twofold by repeating pixels, fine images], without growing or joining them.

    Shapes: (B, H / 2, W / 2, C) and (B, H, W, D) in, (B, H, W, filters) out; no bias. Three taps on repeated pixels see two pixels a side, so the coarse
    part is a transposed convolution with sums of taps: 4 products where 9 were. Keras's name, for its files count layers by it.
    """

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.filters = filters

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "filters": self.filters}

    def build(self, coarse_shape: Shape, fine_shape: Shape) -> None:
        """Create the kernel (3, 3, C + D, filters), as the plain convolution has it."""
        channels = coarse_shape[-1] + fine_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(3, 3, channels, self.filters), initializer="glorot_uniform")

    def compute_output_shape(self, coarse_shape: Shape, fine_shape: Shape) -> Shape:
        """Return (B, H, W, filters)."""
        return (*fine_shape[:-1], self.filters)

    def call(self, coarse: tf.Tensor, fine: tf.Tensor) -> tf.Tensor:
        """Return the convolved images."""
        for_coarse, for_fine = tf.split(tf.convert_to_tensor(self.kernel), (coarse.shape[-1], fine.shape[-1]), 2)
        taps = tf.constant(np.kron(_GROWN, _GROWN).reshape(16, 9), for_coarse.dtype)
        grown = tf.reshape(taps @ tf.reshape(for_coarse, (9, -1)), (4, 4, coarse.shape[-1], self.filters))
        shape = (tf.shape(fine)[0], *fine.shape[1:3], self.filters)
        turned = tf.transpose(grown, (0, 1, 3, 2))
        return tf.nn.conv2d_transpose(coarse, turned, shape, 2, "SAME") + tf.nn.conv2d(fine, for_fine, 1, "SAME")


@keras.saving.register_keras_serializable("seghgan")
class Doubled(keras.layers.Layer):
    """Repeat each pixel two by two, as `UpSampling2D` does, in one operation: (B, H, W, C) becomes (B, 2 H, 2 W, C)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the larger images."""
        return tf.image.resize(inputs, (2 * inputs.shape[1], 2 * inputs.shape[2]), "nearest")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the larger images."""
        batch, height, width, channels = input_shape
        return batch, 2 * height, 2 * width, channels


@keras.saving.register_keras_serializable("seghgan")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation by TensorFlow's own operation, which runs over the images once where Keras does five times.

    Shapes: (B, H, W, C) in and out. Statistics over replicas, and images that are not float32, take Keras's way.
    """

    folded = False
    """Whether the layer before holds the scale, so that the shift alone is left; for inference."""

    def fold_into(self, before: keras.layers.Conv2D) -> None:
        """Move the scale into the kernel of the convolution, without a bias, whose result this layer normalises."""
        before.kernel.assign(before.kernel * self._scale())
        self.folded = True

    def _scale(self) -> tf.Tensor:
        return self.gamma.value * tf.math.rsqrt(self.moving_variance.value + self.epsilon)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return the normalised images; in training, move the running mean and variance."""
        if self.folded:
            return tf.nn.bias_add(inputs, self.beta.value - self.moving_mean.value * self._scale())
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        learns = bool(training) and self.trainable
        if inputs.dtype != tf.float32 or (learns and self.synchronized and replicas > 1):
            return super().call(inputs, training, mask)
        moving = (tf.constant([]),) * 2 if learns else (self.moving_mean.value, self.moving_variance.value)
        made, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=self.gamma.value, offset=self.beta.value, mean=moving[0], variance=moving[1],
            epsilon=self.epsilon, is_training=learns,
        )  # fmt: skip
        if learns:
            pixels = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
            variance *= (pixels - 1.0) / pixels  # the operation returns the sample's, Keras keeps the population's
            for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                kept.assign(kept * self.momentum + new * (1.0 - self.momentum))
        return made


def normalised(images: tf.Tensor, gain: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Give each channel of each image (B, H, W, C) the mean `shift` and the deviation `gain`, both (B or 1, 1, 1, C)."""
    mean, variance = tf.nn.moments(tf.cast(images, tf.float32), axes=(1, 2), keepdims=True)
    scale = tf.math.rsqrt(variance + 1e-3) * gain
    return tf.cast(tf.cast(images, tf.float32) * scale + (shift - mean * scale), images.dtype)


def planes(vector: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Repeat `vector` (B, N) over the pixels of `like` (B, H, W, C); returns (B, H, W, N)."""
    shape = tf.shape(like)
    return tf.broadcast_to(vector[:, None, None, :], (shape[0], shape[1], shape[2], vector.shape[-1]))


def dilate(mask: tf.Tensor, radius: int) -> tf.Tensor:
    """Grow soft masks (B, H, W, C) by `radius` pixels and soften their edges; differentiable, at most 1.

    A mouth that opens leaves its old lips, so a region must be larger than the class it comes from.

    >>> float(dilate(tf.ones((1, 8, 8, 1)), 1)[0, 4, 4, 0])
    1.0
    """
    if radius == 0:
        return mask
    side = 2 * radius + 1
    grown = tf.nn.max_pool2d(tf.nn.max_pool2d(mask, (side, 1), 1, "SAME"), (1, side), 1, "SAME")
    return tf.minimum(tf.nn.avg_pool2d(grown, 2 * (radius // 2) + 1, 1, "SAME"), 1.0)


def window_corner(mask: tf.Tensor, window: tuple[int, int], center: tuple[float, float]) -> tf.Tensor:
    """Return the integer (y, x) of the window of `window` = (height, width) pixels around each mask's centroid.

    `mask` is (B, H, W, 1) in 0..1; where it is nearly empty the window stands around `center` (y, x in 0..1 of the
    side). Carries no gradient. Returns int32 (B, 2), such that the window lies within the image,
    whatever the mask holds (a NaN too: training stops on it with a message, not with a wrong index).
    """
    mask = tf.stop_gradient(tf.cast(mask, tf.float32))
    size = mask.shape[1]
    steps = tf.range(size, dtype=tf.float32) + 0.5
    weight = tf.reduce_sum(mask, (1, 2)) + 1.0
    y = (tf.reduce_sum(mask * steps[:, None, None], (1, 2)) + center[0] * size) / weight
    x = (tf.reduce_sum(mask * steps[:, None], (1, 2)) + center[1] * size) / weight
    corner = tf.concat((y - window[0] / 2, x - window[1] / 2), -1)
    limit = tf.constant((size - window[0], size - window[1]), tf.float32)
    corner = tf.where(tf.math.is_finite(corner), corner, 0.0)
    return tf.cast(tf.round(tf.clip_by_value(corner, 0.0, limit)), tf.int32)


def window_indices(corner: tf.Tensor, window: tuple[int, int]) -> tf.Tensor:
    """Return int32 (B, h, w, 3), the (example, y, x) index of each pixel of each window."""
    height, width = window
    batch = tf.shape(corner)[0]
    rows = corner[:, 0, None] + tf.range(height)
    columns = corner[:, 1, None] + tf.range(width)
    shape = (batch, height, width)
    return tf.stack(
        (
            tf.broadcast_to(tf.range(batch)[:, None, None], shape),
            tf.broadcast_to(rows[:, :, None], shape),
            tf.broadcast_to(columns[:, None, :], shape),
        ),
        -1,
    )


def cut(image: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Cut windows (B, h, w, C) out of `image` (B, H, W, C) at exact pixels."""
    return tf.gather_nd(image, indices)


def paste(windows: tf.Tensor, indices: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Lay windows (B, h, w, C) on zeros of `like`'s height and width (B, H, W, C)."""
    shape = tf.shape(like)
    return tf.scatter_nd(indices, windows, (shape[0], shape[1], shape[2], windows.shape[-1]))
