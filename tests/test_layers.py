"""Windows are exact, masks grow, blends keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.model.generator import generator
from seghgan_tf.model.layers import (
    BatchNormalization,
    Conv2D,
    Doubled,
    ExpressionNorm,
    InstanceNorm,
    cut,
    dilate,
    paste,
    planes,
    window_corner,
    window_indices,
)

RNG = np.random.default_rng(0)


def test_cut_then_paste_returns_exactly_the_window():
    image = RNG.uniform(-1, 1, (2, 16, 16, 3)).astype("float32")
    indices = window_indices(tf.constant([[1, 2], [8, 4]]), (8, 12))
    window = cut(image, indices).numpy()
    assert np.array_equal(window[0], image[0, 1:9, 2:14])
    assert np.array_equal(window[1], image[1, 8:16, 4:16])
    pasted = paste(window, indices, image).numpy()
    assert np.array_equal(pasted[1, 8:16, 4:16], image[1, 8:16, 4:16])
    assert not pasted[1, :8].any()
    assert not pasted[1, :, :4].any()


def test_a_window_follows_the_mask_and_stays_inside():
    mask = np.zeros((3, 32, 32, 1), "float32")
    mask[0, 20:28, 12:20] = 1.0
    mask[1, :6, :6] = 1.0
    corners = window_corner(mask, (8, 8), (0.5, 0.5)).numpy()
    assert abs(corners[0] - [20, 12]).max() <= 1
    assert corners[1].tolist() == [0, 0]
    assert corners[2].tolist() == [12, 12], "an empty mask leaves the window at its centre"


def test_window_position_carries_no_gradient_but_its_content_does():
    mask = tf.Variable(np.pad(np.ones((1, 4, 4, 1), "float32"), ((0, 0), (6, 6), (6, 6), (0, 0))))
    with tf.GradientTape(persistent=True) as tape:
        corner = window_corner(mask, (8, 8), (0.5, 0.5))
        content = tf.reduce_sum(cut(mask, window_indices(corner, (8, 8))))
    assert tape.gradient(tf.cast(corner, tf.float32), mask) is None
    gradient = tf.convert_to_tensor(tape.gradient(content, mask))
    assert float(tf.reduce_sum(gradient)) == 64.0


def test_dilation_grows_by_its_radius_and_stays_at_most_one():
    mask = np.zeros((1, 15, 15, 1), "float32")
    mask[0, 7, 7] = 1.0
    grown = dilate(mask, 2).numpy()[0, ..., 0]
    assert grown.max() <= 1.0
    assert grown[7, 7] == 1.0
    assert grown[7, 9] > 0.3
    assert grown[7, 11] == 0.0


def test_dilation_is_differentiable():
    mask = tf.Variable(np.random.default_rng(0).uniform(size=(1, 9, 9, 1)).astype("float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(dilate(mask, 1))
    assert float(tf.reduce_sum(tf.abs(tape.gradient(total, mask)))) > 0


def test_planes_repeat_a_vector_over_all_pixels():
    repeated = planes(tf.constant([[1.0, 2.0]]), tf.zeros((1, 3, 5, 3))).numpy()
    assert repeated.shape == (1, 3, 5, 2)
    assert (repeated[..., 1] == 2.0).all()


def test_instance_norm_normalises_each_image_alone():
    images = RNG.normal(3.0, 5.0, (2, 8, 8, 4)).astype("float32")
    normal = InstanceNorm()(images).numpy()
    np.testing.assert_allclose(normal.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(normal.std((1, 2)), 1, atol=1e-2)
    np.testing.assert_allclose(InstanceNorm()(images[:1]).numpy(), normal[:1], atol=1e-5)


def test_a_mask_of_nan_still_gives_a_window_inside():
    corner = window_corner(np.full((1, 16, 16, 1), np.nan, "float32"), (8, 8), (0.5, 0.5)).numpy()
    assert corner.tolist() == [[0, 0]]


def test_a_normalisation_takes_planes_away_and_steering_brings_the_expression_back():
    image = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    plain, steered = InstanceNorm(), ExpressionNorm()
    asked = np.array([[0.2, 0.9], [1.0, 0.0]], "float32")
    np.testing.assert_allclose(plain(image + planes(asked[:, :1], image)), plain(image), atol=1e-5)
    np.testing.assert_array_equal(steered(image, asked), plain(image))
    gain, shift = RNG.normal(size=(2, 2, 3)).astype("float32")
    steered.gain_asked.assign(gain)
    steered.shift_asked.assign(shift)
    expected = plain(image).numpy() * (1 + asked @ gain)[:, None, None] + (asked @ shift)[:, None, None]
    np.testing.assert_allclose(steered(image, asked), expected, atol=1e-5)


def test_an_expression_reaches_the_middle_of_the_image_only_where_it_steers():
    image = tf.constant(RNG.uniform(-1, 1, (1, 128, 128, 3)).astype("float32"))

    def in_the_middle(steered):
        network = generator(128, 128, 2, 0, 4, 1, "g", steered=steered)
        for variable in network.variables:
            if variable.path.endswith("_asked"):
                variable.assign(RNG.normal(size=variable.shape))
        heads = [network(tf.concat([image, planes(tf.constant([[u, 1 - u]]), image)], -1)) for u in (0.0, 1.0)]
        change = tf.abs(heads[0]["color"] - heads[1]["color"])
        return float(tf.reduce_max(change[:, 60:68, 60:68]) / tf.reduce_max(change))

    assert in_the_middle(steered=True) > 0.5
    assert in_the_middle(steered=False) < 0.2


def test_doubling_is_upsampling():
    images = tf.random.stateless_normal((2, 5, 4, 3), (1, 2))
    assert np.array_equal(Doubled()(images), keras.layers.UpSampling2D()(images))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 8, 8, 5), (2, 1, 1, 5)])
def test_batch_normalisation_is_keras_own_in_another_operation(shape, training):
    images, above = (tf.constant(RNG.normal(2.0, 3.0, shape), tf.float32) for _ in range(2))
    found = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        norm = kind(momentum=0.9)
        norm.build(shape)
        for i, variable in enumerate(norm.variables):
            variable.assign(np.linspace(0.5, 1.5 + i, 5))
        with tf.GradientTape() as tape:
            tape.watch(images)
            made = norm(images, training=training)
        gradients = tape.gradient(made, [images, norm.gamma.value, norm.beta.value], above)
        found.append([made, *gradients, norm.moving_mean, norm.moving_variance])
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


def test_a_convolution_of_grown_and_fine_images_is_the_plain_one_of_both_joined():
    shapes = (2, 6, 4, 5), (2, 12, 8, 3), (2, 12, 8, 7)
    coarse, fine, above = (tf.constant(RNG.normal(size=shape), tf.float32) for shape in shapes)
    layer = Conv2D(7)
    layer.build(coarse.shape, fine.shape)
    kernel = layer.kernel.value

    def plain(coarse, fine):
        return tf.nn.conv2d(tf.concat([keras.layers.UpSampling2D()(coarse), fine], -1), kernel, 1, "SAME")

    found = []
    for network in (layer, plain):
        with tf.GradientTape() as tape:
            tape.watch([coarse, fine])
            made = network(coarse, fine)
        found.append((made, *tape.gradient(made, [coarse, fine, kernel], above)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
