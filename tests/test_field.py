"""Edit fields: what stays is bit-equal at every size, what moves moves by its flow, and gradients reach what makes them."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from seghgan_tf.model import SegHGAN
from seghgan_tf.model.field import IDENTITY, REACH, apply_field, grow, limit, pack, warp
from tests.conftest import TINY
from tfrecords_tools.drawn_faces import draw_faces, sample_faces


def still(batch=1, size=16):
    return tf.constant(IDENTITY) * tf.ones((batch, size, size, 1))


def drawn(size):
    pixels, _ = draw_faces(sample_faces(1, 3), np.zeros((1, 17), np.float32), size)
    return pixels.astype(np.float32) / 127.5 - 1.0


@pytest.mark.parametrize(("height", "width"), [(16, 16), (37, 53), (384, 384), (1000, 640)])
def test_a_zero_field_returns_the_photo_bit_equal_at_every_size(height, width):
    photo = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.float32)
    assert np.array_equal(apply_field(photo, grow(still(), height, width)), photo)


@pytest.mark.parametrize(("down", "right"), [(4, 0), (0, -6), (3, 5)])
def test_a_field_of_a_known_shift_moves_a_drawn_picture_by_it(down, right):
    face = drawn(64)
    field = still(size=64) - tf.constant([0.0, down / 64, right / 64, 0.0, 0.0, 0.0])
    moved = apply_field(face, field).numpy()
    inside = np.s_[:, 8:56, 8:56]
    np.testing.assert_allclose(moved[inside], np.roll(face, (down, right), (1, 2))[inside], atol=1e-5)


def test_the_warp_equals_bilinear_map_coordinates():
    rng = np.random.default_rng(1)
    image = rng.uniform(-1, 1, (2, 24, 32, 3)).astype(np.float32)
    flow = rng.uniform(-0.4, 0.4, (2, 24, 32, 2)).astype(np.float32)
    warped = warp(image, flow).numpy()
    rows, columns = np.mgrid[:24, :32].astype(np.float32)
    for picture, shifts, ours in zip(image, flow, warped, strict=True):
        places = [rows + 24 * shifts[..., 0], columns + 32 * shifts[..., 1]]
        theirs = [ndimage.map_coordinates(picture[..., c], places, order=1, mode="nearest") for c in range(3)]
        np.testing.assert_allclose(ours, np.stack(theirs, -1), atol=2e-5)


def test_warp_and_growth_compile_with_xla_and_compute_the_same():
    image = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2))
    field = still(2, 8) + 0.05 * tf.random.stateless_normal((2, 8, 8, 6), (3, 4))

    def edit(image, field):
        return apply_field(image, grow(field, 32, 32))

    np.testing.assert_allclose(tf.function(edit, jit_compile=True)(image, field), edit(image, field), atol=1e-5)


def test_a_limit_scales_towards_the_identity_and_nothing_is_left_at_zero():
    field = still() + 0.25
    reach = np.zeros((1, 16, 16, 1), np.float32)
    reach[:, 4:8], reach[:, 8:12] = 0.5, 1.0
    limited = limit(field, reach).numpy()
    assert np.array_equal(limited[:, :4], still()[:, :4])
    np.testing.assert_allclose(limited[:, 4:8], still()[:, 4:8] + 0.125)
    np.testing.assert_allclose(limited[:, 8:12], still()[:, 8:12] + 0.25)


def test_a_region_limit_leaves_every_other_pixel_of_a_4000_px_photo_bit_equal():
    reach = np.zeros((1, 16, 16, 1), np.float32)
    reach[:, 9:12, 6:10] = 1.0
    photo = np.random.default_rng(2).integers(0, 256, (1, 4000, 64, 3)).astype(np.float32)
    edited = apply_field(photo, grow(limit(still() + 0.3, reach), 4000, 64)).numpy()
    untouched = grow(reach, 4000, 64).numpy()[..., 0] == 0
    assert np.array_equal(edited[untouched], photo[untouched])
    assert not np.array_equal(edited[~untouched], photo[~untouched])
    assert 0.8 < untouched.mean() < 0.95


def test_without_a_flow_no_pixel_moves():
    attention, color = tf.fill((1, 4, 4, 1), 0.25), tf.fill((1, 4, 4, 3), 0.8)
    image = tf.fill((1, 4, 4, 3), -0.4)
    np.testing.assert_allclose(apply_field(image, pack(attention, None, color)), 0.25 * -0.4 + 0.75 * 0.8, rtol=1e-6)


def test_no_pixel_comes_from_farther_than_the_reach():
    flow = tf.constant([2.0, -0.5]) * tf.ones((1, 4, 4, 2))
    packed = pack(tf.ones((1, 4, 4, 1)), flow, tf.zeros((1, 4, 4, 3)))
    np.testing.assert_allclose(packed[0, 0, 0, 1:3], [REACH, -0.5 * REACH])


def test_gradients_of_the_edit_reach_the_segmenter_and_the_flow():
    model = SegHGAN(TINY)
    image, target = drawn(TINY["image_size"] * 2)[:, ::2, ::2], drawn(TINY["image_size"])
    flows = [v.value for v in model.role_variables("generator") if "flow_coarse" in v.path]
    assert len(flows) == 8, "kernel and bias of one global and three local generators"
    segmenter = [v.value for v in model.role_variables("segmenter")]
    with tf.GradientTape() as tape:
        edited = model({"image": tf.constant(image), "expression": tf.fill((1, 17), 0.6)})["edited"]
        loss = tf.reduce_mean(tf.square(edited - target))
    for_flows, for_segmenter = tape.gradient(loss, (flows, segmenter))
    assert all(float(tf.reduce_max(tf.abs(gradient))) > 0 for gradient in for_flows[::2])
    assert float(tf.linalg.global_norm([g for g in for_segmenter if g is not None])) > 0
