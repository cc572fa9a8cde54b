"""The losses: free functions that return one float32 number per example, shape (B,)."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def per_example(values: tf.Tensor) -> tf.Tensor:
    """Average everything but the batch: (B, ...) to (B,), in float32."""
    return tf.reduce_mean(tf.reshape(tf.cast(values, tf.float32), (tf.shape(values)[0], -1)), 1)


def l1_pyramid(first: tf.Tensor, second: tf.Tensor, sizes: int) -> tf.Tensor:
    """Return `l1` summed over full, half, quarter, ... size (`sizes` of them): what makes a shift of several pixels learnable."""
    total = l1(first, second)
    for _ in range(sizes - 1):
        first, second = tf.nn.avg_pool2d(first, 2, 2, "VALID"), tf.nn.avg_pool2d(second, 2, 2, "VALID")
        total += l1(first, second)
    return total


def l1(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the mean absolute difference of two images (B, H, W, C): the cycle loss."""
    return per_example(tf.abs(first - second))


def wasserstein(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Return the critic's loss, E[D(fake)] - E[D(real)] (Gulrajani et al. 2017, equation 3, first terms)."""
    return per_example(fake) - per_example(real)


def gradient_penalty(
    critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
) -> tf.Tensor:
    """Return (|grad D(x)| - 1)^2 at x = mix real + (1 - mix) fake (Gulrajani et al. 2017, equation 3).

    `critic` takes images and returns realness (B, h, w, 1); `mix` is (B, 1, 1, 1) in 0..1. The whole is float32.
    """
    real, fake = tf.cast(real, tf.float32), tf.cast(fake, tf.float32)
    between = mix * real + (1.0 - mix) * fake
    with tf.GradientTape() as tape:
        tape.watch(between)
        realness = per_example(critic(between))
    gradient = tf.cast(tape.gradient(realness, between), tf.float32)
    norm = tf.sqrt(tf.reduce_sum(tf.square(gradient), (1, 2, 3)) + 1e-12)
    return tf.square(norm - 1.0)


def expression_error(
    predicted: tf.Tensor, target: tf.Tensor, one_hot: bool, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Return the mean squared error of (B, N) expressions, or the cross-entropy of logits for a one-hot space.

    `weights` (N,) says which entries count (a region critic cannot see all action units).
    """
    if one_hot:
        return tf.nn.softmax_cross_entropy_with_logits(target, predicted)
    squared = tf.square(predicted - target)
    return tf.reduce_mean(squared if weights is None else squared * weights, 1)


def attention_use(attention: tf.Tensor) -> tf.Tensor:
    """Return the mean of 1 - attention (B, H, W, 1): how much of the image is painted anew."""
    return per_example(1.0 - attention)


def total_variation(attention: tf.Tensor) -> tf.Tensor:
    """Return the sum of squared differences of neighbouring attentions (GANimation, equation 5)."""
    down = tf.square(attention[:, 1:] - attention[:, :-1])
    right = tf.square(attention[:, :, 1:] - attention[:, :, :-1])
    return tf.reduce_sum(down, (1, 2, 3)) + tf.reduce_sum(right, (1, 2, 3))


def segmentation_error(logits: tf.Tensor, mask: tf.Tensor, ohem_threshold: float | None = None) -> tf.Tensor:
    """Return the pixelwise cross-entropy of (B, H, W, K) logits against class ids (B, H, W).

    With `ohem_threshold`, only pixels whose true class has a smaller probability count, but at least a sixteenth of
    them (online hard example mining, Shrivastava et al. 2016, as BiSeNet uses it).
    """
    error = pixel_error(logits, mask)
    error = tf.reshape(error, (tf.shape(error)[0], -1))
    if ohem_threshold is None:
        return tf.reduce_mean(error, 1)
    least, hardness = tf.shape(error)[1] // 16, -tf.math.log(ohem_threshold)
    floor = tf.cond(  # sorting is for batches that are nearly learned
        tf.reduce_all(tf.math.count_nonzero(error >= hardness, 1, dtype=tf.int32) >= least),
        lambda: tf.fill((tf.shape(error)[0], 1), hardness),
        lambda: tf.minimum(tf.math.top_k(error, least).values[:, -1:], hardness),
    )
    hard = tf.cast(error >= floor, tf.float32)
    return tf.reduce_sum(error * hard, 1) / tf.reduce_sum(hard, 1)


def pixel_error(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy (B, H, W) of float32 logits (B, H, W, K) against class ids (B, H, W).

    The same as `tf.nn.sparse_softmax_cross_entropy_with_logits` in a third of its time on a CPU: the softmax is oneDNN's, and what the true class
    lacks beside the likeliest one is a difference of logits, so that no share is too small for its logarithm.

    >>> round(float(pixel_error(tf.zeros((1, 1, 1, 19)), tf.constant([[[4]]]))[0, 0, 0]), 4)
    2.9444
    """

    @tf.custom_gradient
    def error(logits: tf.Tensor) -> Any:
        shares = tf.nn.softmax(logits)
        lacking = tf.reduce_max(logits, -1) - tf.gather(logits, mask, batch_dims=3)

        def gradient(above: tf.Tensor) -> tf.Tensor:
            return above[..., None] * (shares - tf.one_hot(mask, logits.shape[-1]))

        return lacking - tf.math.log(tf.reduce_max(shares, -1)), gradient

    return error(logits)
