"""Each loss against numpy, worked on small literal arrays."""

import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.model import losses

RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(-1, 1, (2, 4, 4, 3)).astype("float32")
OTHERS = RNG.uniform(-1, 1, (2, 4, 4, 3)).astype("float32")


def test_l1_is_the_mean_absolute_difference_of_each_example():
    np.testing.assert_allclose(losses.l1(IMAGES, OTHERS), np.abs(IMAGES - OTHERS).mean((1, 2, 3)), rtol=1e-6)


def test_the_pyramid_sums_l1_over_sizes():
    first = np.zeros((1, 4, 4, 1), np.float32)
    second = np.tile([[1.0, -1.0], [1.0, -1.0]], (2, 2))[None, ..., None].astype(np.float32)
    assert float(losses.l1_pyramid(first, second, 1)[0]) == 1.0
    assert float(losses.l1_pyramid(first, second, 3)[0]) == 1.0, "equal at half size and below"
    assert float(losses.l1_pyramid(first, np.ones_like(second), 3)[0]) == 3.0


def test_wasserstein_is_fake_minus_real():
    real, fake = np.full((2, 2, 2, 1), 3.0, "float32"), np.full((2, 2, 2, 1), 1.0, "float32")
    np.testing.assert_allclose(losses.wasserstein(real, fake), [-2.0, -2.0])


def test_gradient_penalty_of_a_linear_critic_is_known():
    weights = RNG.normal(size=(4, 4, 3)).astype("float32")

    def critic(x):
        return tf.reduce_sum(x * weights, (1, 2, 3))[:, None, None, None]

    expected = (np.sqrt((weights**2).sum()) - 1) ** 2
    penalty = losses.gradient_penalty(critic, IMAGES, OTHERS, tf.fill((2, 1, 1, 1), 0.3))
    np.testing.assert_allclose(penalty, [expected] * 2, rtol=1e-5)


def test_gradient_penalty_is_float32_for_half_precision_images():
    penalty = losses.gradient_penalty(
        lambda x: x[..., :1], tf.cast(IMAGES, tf.bfloat16), tf.cast(OTHERS, tf.bfloat16), tf.ones((2, 1, 1, 1))
    )
    assert penalty.dtype == tf.float32


def test_expression_error_is_a_mean_square_and_weights_drop_labels():
    seen, asked = np.array([[0.0, 1.0, 0.5]], "float32"), np.array([[1.0, 1.0, 0.0]], "float32")
    np.testing.assert_allclose(losses.expression_error(seen, asked, one_hot=False), [1.25 / 3], rtol=1e-6)
    np.testing.assert_allclose(
        losses.expression_error(seen, asked, False, np.array([0, 1, 1], "float32")), [0.25 / 3], rtol=1e-6
    )


def test_expression_error_of_a_one_hot_space_is_cross_entropy():
    logits = np.array([[2.0, 0.0, -1.0]], "float32")
    expected = -np.log(np.exp(2.0) / np.exp(logits).sum())
    np.testing.assert_allclose(
        losses.expression_error(logits, np.array([[1.0, 0, 0]], "float32"), one_hot=True), [expected], rtol=1e-6
    )


def test_attention_use_counts_what_is_painted():
    np.testing.assert_allclose(losses.attention_use(np.full((1, 2, 2, 1), 0.75, "float32")), [0.25])


def test_total_variation_sums_squared_steps():
    attention = np.array([[0.0, 1.0], [0.0, 0.5]], "float32")[None, ..., None]
    np.testing.assert_allclose(losses.total_variation(attention), [0.25 + 1.0 + 0.25])


def test_segmentation_error_is_pixelwise_cross_entropy():
    logits = RNG.normal(size=(2, 4, 4, 5)).astype("float32")
    mask = RNG.integers(0, 5, (2, 4, 4))
    chosen = np.take_along_axis(logits - np.log(np.exp(logits).sum(-1, keepdims=True)), mask[..., None], -1)
    np.testing.assert_allclose(losses.segmentation_error(logits, mask), -chosen.mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 3000.0])
def test_the_pixels_errors_and_gradients_are_those_of_tensorflows_plain_cross_entropy(scale):
    logits = tf.constant(scale * RNG.normal(size=(2, 8, 8, 19)), tf.float32)
    mask = tf.constant(RNG.integers(0, 19, (2, 8, 8)), tf.int32)
    weights = tf.constant(RNG.uniform(0, 1, (2, 8, 8)), tf.float32)
    found = []
    for error in (
        losses.pixel_error,
        lambda logits, mask: tf.nn.sparse_softmax_cross_entropy_with_logits(mask, logits),
    ):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            errors = error(logits, mask)
        found.append((errors, tape.gradient(errors, logits, weights)))
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("sure", [0.0, 3.0, 9.0])
def test_hard_example_mining_takes_the_pixels_that_sorting_all_would(sure):
    mask = RNG.integers(0, 5, (3, 8, 8))
    logits = (RNG.normal(size=(3, 8, 8, 5)) + sure * np.eye(5)[mask]).astype("float32")
    error = tf.reshape(tf.nn.sparse_softmax_cross_entropy_with_logits(mask, logits), (3, -1)).numpy()
    floor = np.minimum(np.sort(error)[:, -4:-3], -np.log(np.float32(0.7)))
    expected = [row[row >= least].mean() for row, least in zip(error, floor, strict=True)]
    np.testing.assert_allclose(losses.segmentation_error(logits, mask, 0.7), expected, rtol=1e-4)


def test_hard_example_mining_leaves_easy_pixels_out():
    logits = np.zeros((1, 4, 4, 2), "float32")
    logits[..., 0] = 5.0  # every pixel is surely class 0 ...
    mask = np.zeros((1, 4, 4), "int32")
    mask[0, 0, 0] = 1  # ... but one
    error = losses.segmentation_error(logits, mask, 0.7)
    np.testing.assert_allclose(error, [5.0 + np.log1p(np.exp(-5.0))], rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.7, 1.0])
def test_hard_example_mining_always_keeps_a_sixteenth(threshold):
    logits = np.zeros((1, 4, 4, 2), "float32")
    logits[..., 0] = 9.0
    error = losses.segmentation_error(logits, np.zeros((1, 4, 4), "int32"), threshold)
    assert np.isfinite(error).all()
    assert float(error[0]) > 0
