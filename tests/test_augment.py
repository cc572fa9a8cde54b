"""Augmentation: the same geometry for image, target and mask; sides swap under a flip; nothing leaves its range."""

import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.config import AugmentConfig
from seghgan_tf.data.augment import augment, draw, to_float
from seghgan_tf.regions import CLASSES, mirrored_classes

SEED = tf.constant([7, 11], tf.int64)
L_EYE, R_EYE, NOSE = (CLASSES.index(name) for name in ("l_eye", "r_eye", "nose"))


def random_batch(count=8, size=16):
    generator = np.random.default_rng(0)
    mask = np.kron(generator.integers(0, 19, (count, size // 4, size // 4)), np.ones((4, 4), int)).astype(np.uint8)
    image = np.repeat(mask[..., None] * 10, 3, axis=-1)
    return {
        "image": tf.constant(image),
        "mask": tf.constant(mask),
        "expression": tf.random.stateless_uniform([count, 3], SEED),
    }


def change(batch, how, seed):
    """What a training step makes of a batch that the loader drew changes for."""
    return augment(batch | {"drawn": draw(how, *batch["image"].shape[:2], seed)})


def shift_and_flip(batch, crop, flip, seed):
    """The plain form: whole pixels gathered, row by row and column by column."""
    count, size = batch["image"].shape[:2]
    shift_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    limit = round(crop * size)
    shift = tf.random.stateless_uniform([2, count, 1], shift_seed, -limit, limit + 1, tf.int32).numpy()
    flipped = tf.random.stateless_uniform([count, 1], flip_seed).numpy() < (0.5 if flip else 0.0)
    changed = dict(batch)
    for key in {"image", "target_image", "mask"} & batch.keys():
        values = batch[key].numpy()
        moved = []
        for each, down, right, mirrored in zip(values, *shift[:, :, 0], flipped[:, 0], strict=True):
            picture = each[:, ::-1] if mirrored else each
            if mirrored:
                right = -right  # the shift is of the place in the source
            border = [(size - 1, size - 1)] * 2 + [(0, 0)] * (each.ndim - 2)
            top, left = size - 1 + down, size - 1 + right
            picture = np.pad(picture, border, "reflect")[top : top + size, left : left + size]
            moved.append(np.array(mirrored_classes())[picture] if mirrored and key == "mask" else picture)
        changed[key] = tf.constant(np.stack(moved).astype(np.uint8))
    return changed


def enlarge(batch, scale, seed):
    """The plain form: TensorFlow's own crop and resize, of floats."""
    count, size = batch["image"].shape[:2]
    margin = 0.5 - 0.5 / tf.random.stateless_uniform([count, 1], seed, 1.0, 1.0 + scale)
    boxes = tf.concat([margin, margin, 1 - margin, 1 - margin], axis=1)
    resize = tf.image.crop_and_resize
    changed = dict(batch)
    for key in {"image", "target_image"} & batch.keys():
        changed[key] = resize(batch[key], boxes, tf.range(count), [size, size])
    if "mask" in batch:
        mask = resize(batch["mask"][..., None], boxes, tf.range(count), [size, size], method="nearest")
        changed["mask"] = tf.cast(mask[..., 0], tf.int32)
    return changed


def change_colour(batch, colour, seed):
    """The plain form: one matrix an image."""
    count = batch["image"].shape[0]
    drawn = tf.random.stateless_uniform([3, count, 1, 1, 1], seed, -colour, colour).numpy()
    changed = dict(batch)
    for key in {"image", "target_image"} & batch.keys():
        values = batch[key].numpy().astype(np.float64)
        grey = values @ [[0.299] * 3, [0.587] * 3, [0.114] * 3]
        painted = (1 + drawn[1]) * ((1 + drawn[2]) * values - drawn[2] * grey) + drawn[0]
        changed[key] = tf.constant(np.clip(painted, -1, 1), tf.float32)
    return changed


def plain(batch, how, seed):
    """Augmentation one step after the other, as it is meant."""
    place, zoom, colour = tf.unstack(tf.random.split(seed, 3))
    batch = to_float(shift_and_flip(batch, how.crop, how.flip, place))
    batch = enlarge(batch, how.scale, zoom) if how.scale else batch
    return change_colour(batch, how.colour, colour) if how.colour else batch


@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize(
    "how",
    [
        {"flip": True}, {"flip": False, "crop": 0.2}, {"flip": True, "crop": 0.2}, {"flip": False, "scale": 0.3}, {"flip": False, "colour": 0.4},
        {"flip": True, "crop": 0.2, "scale": 0.3}, {"flip": True, "crop": 0.1, "scale": 0.2, "colour": 0.3},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_fused_is_what_the_plain_steps_make(how, size):
    generator = np.random.default_rng(1)
    batch = {
        "image": tf.constant(generator.integers(0, 256, (9, size, size, 3), np.uint8)),
        "target_image": tf.constant(generator.integers(0, 256, (9, size, size, 3), np.uint8)),
        "mask": tf.constant(generator.integers(0, 19, (9, size, size), np.uint8)),
    }
    found, expected = (make(batch, AugmentConfig(**how), SEED) for make in (change, plain))
    np.testing.assert_array_equal(found["mask"], expected["mask"])
    for key in ("image", "target_image"):
        np.testing.assert_allclose(found[key], expected[key], atol=2e-5 if "scale" in how else 1e-6)
        assert np.abs(found[key]).max() <= 1


def face_with_marked_eyes():
    """A face whose left eye (at the image's right) is red and whose right eye is blue, and its mask."""
    image, mask = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
    mask[4:6, 10:13], image[4:6, 10:13, 0] = L_EYE, 255
    mask[4:6, 3:5], image[4:6, 3:5, 2] = R_EYE, 255
    mask[8:11, 7:9] = NOSE
    return image, mask


def test_a_flip_moves_both_eyes_and_swaps_their_classes():
    image, mask = face_with_marked_eyes()
    expression = tf.random.stateless_uniform([16, 17], SEED)
    batch = {
        "image": tf.constant(np.stack([image] * 16)),
        "mask": tf.constant(np.stack([mask] * 16)),
        "expression": expression,
    }
    flipped = change(batch, AugmentConfig(flip=True), SEED)
    mirrored = [bool(each[4, 4, 0] == 1) for each in flipped["image"].numpy()]  # red at the image's left
    assert 0 < sum(mirrored) < 16
    for was_mirrored, image_after, mask_after in zip(
        mirrored, flipped["image"].numpy(), flipped["mask"].numpy(), strict=True
    ):
        red, blue = image_after[..., 0] == 1, image_after[..., 2] == 1
        assert (red.sum(), blue.sum()) == (6, 4)
        np.testing.assert_array_equal(mask_after == (R_EYE if was_mirrored else L_EYE), red)
        np.testing.assert_array_equal(mask_after == (L_EYE if was_mirrored else R_EYE), blue)
        assert np.argwhere(mask_after == L_EYE)[:, 1].min() >= 8  # l_* stays at the image's right
        np.testing.assert_array_equal(mask_after == NOSE, mask == NOSE)
    np.testing.assert_array_equal(flipped["expression"], expression)


@pytest.mark.parametrize("flip", [False, True])
def test_a_shift_moves_image_and_mask_alike(flip):
    batch = random_batch()
    batch["mask"] = tf.where(batch["mask"] > 3, tf.constant(NOSE, tf.uint8), batch["mask"])  # classes without a side
    batch["image"] = tf.repeat(batch["mask"][..., None] * 10, 3, axis=-1)
    moved = change(batch, AugmentConfig(flip=flip, crop=0.25), SEED)
    np.testing.assert_allclose(moved["image"][..., 0], moved["mask"].numpy() * 10 / 127.5 - 1, atol=1e-6)
    assert not np.array_equal(moved["mask"], batch["mask"])


def test_a_shift_stays_within_its_strength_and_reflects_at_the_border():
    ramp = np.tile(np.arange(20, dtype=np.uint8)[None, None, :, None], (200, 20, 1, 3))
    shifted = change({"image": tf.constant(ramp)}, AugmentConfig(flip=False, crop=0.1), SEED)["image"].numpy()
    columns = np.rint((shifted[:, 0, :, 0] + 1) * 127.5).astype(int)
    shifts = columns[:, 10] - 10
    assert set(shifts) == {-2, -1, 0, 1, 2}
    np.testing.assert_array_equal(columns[shifts == -2][0][:4], [2, 1, 0, 1])
    np.testing.assert_array_equal(columns[shifts == 2][0][-4:], [18, 19, 18, 17])


def test_enlarging_keeps_the_centre_and_moves_image_and_mask_alike():
    mask = np.zeros((32, 33, 33), np.uint8)
    mask[:, 8:25, 8:25] = NOSE
    image = np.where(mask == NOSE, 200, 0).astype(np.uint8)
    batch = {"image": tf.constant(np.repeat(image[..., None], 3, -1)), "mask": tf.constant(mask)}
    enlarged = change(batch, AugmentConfig(flip=False, scale=0.49), SEED)
    areas = np.sum(enlarged["mask"].numpy() == NOSE, axis=(1, 2)) / 17**2
    assert areas.min() >= 1
    assert 1.5 < areas.max() <= 1.6**2
    painted = enlarged["image"].numpy()[..., 0] > 100 / 127.5 - 1
    assert np.mean(painted == (enlarged["mask"].numpy() == NOSE)) > 0.97
    assert enlarged["mask"].dtype == tf.int32


def test_a_turn_squeezes_one_side_and_moves_image_target_and_mask_alike():
    mask = np.zeros((32, 33, 33), np.uint8)
    mask[:, :, 16:] = NOSE
    image = np.repeat(np.where(mask == NOSE, 200, 0).astype(np.uint8)[..., None], 3, -1)
    batch = {"image": tf.constant(image), "target_image": tf.constant(image), "mask": tf.constant(mask)}
    turned = change(batch, AugmentConfig(flip=False, turn=0.4), SEED)
    shares = np.mean(turned["mask"].numpy() == NOSE, axis=(1, 2))
    assert shares.min() < 0.4
    assert shares.max() > 0.6
    painted = turned["image"].numpy()[..., 0] > 100 / 127.5 - 1
    assert np.mean(painted == (turned["mask"].numpy() == NOSE)) > 0.97
    np.testing.assert_array_equal(turned["image"], turned["target_image"])
    ramp = np.broadcast_to((7 * np.arange(33))[:, None, None].astype(np.uint8), (32, 33, 33, 3))
    upright = change({"image": tf.constant(ramp)}, AugmentConfig(flip=False, turn=0.4), SEED)["image"]
    np.testing.assert_allclose(upright, to_float({"image": tf.constant(ramp)})["image"], atol=1e-5)


def test_light_is_a_slope_and_a_tint():
    batch = {"image": tf.fill([16, 9, 9, 3], tf.constant(64, tf.uint8))}
    batch["target_image"] = batch["image"]
    changed = change(batch, AugmentConfig(flip=False, light=0.4), SEED)
    np.testing.assert_array_equal(changed["image"], changed["target_image"])
    light = (changed["image"].numpy() + 1) / (64 / 127.5)
    middle = light[:, 4, 4]
    assert 0.8 <= middle.min() < 0.9
    assert 1.1 < middle.max() <= 1.2
    for side in (light[:, 4, 8], light[:, 8, 4]):
        slope = side / middle - 1
        assert np.ptp(slope, axis=1).max() < 1e-5  # the tint is the same everywhere
        assert -0.4 <= slope.min() < -0.2
        assert 0.2 < slope.max() <= 0.4
    np.testing.assert_allclose(light[:, 4, 0] + light[:, 4, 8], 2 * middle, atol=1e-5)


def test_colour_changes_stay_in_range_and_treat_a_target_like_its_image():
    image = tf.cast(tf.random.stateless_uniform([16, 8, 8, 3], SEED, 0, 256, tf.int32), tf.uint8)
    batch = {"image": image, "target_image": image}
    changed = change(batch, AugmentConfig(flip=False, colour=0.5), SEED)
    np.testing.assert_array_equal(changed["image"], changed["target_image"])
    assert np.abs(changed["image"]).max() <= 1
    assert not np.allclose(changed["image"], to_float(batch)["image"], atol=0.05)


def test_colour_changes_keep_grey_pictures_grey():
    grey = tf.repeat(tf.random.stateless_uniform([8, 8, 8, 1], SEED, 90, 166, tf.int32), 3, axis=-1)
    batch = {"image": tf.cast(grey, tf.uint8)}
    changed = change(batch, AugmentConfig(flip=False, colour=0.5), SEED)["image"].numpy()
    grey = to_float(batch)["image"]
    np.testing.assert_allclose(changed[..., 0], changed[..., 2], atol=1e-6)
    slopes = [
        np.polyfit(before.ravel(), after.ravel(), 1)[0] for before, after in zip(grey.numpy(), changed, strict=True)
    ]
    assert min(slopes) >= 0.49
    assert max(slopes) <= 1.51


def test_a_target_shares_the_geometry_of_its_image():
    batch = random_batch()
    batch["target_image"] = 255 - batch["image"]
    changed = change(batch, AugmentConfig(flip=True, crop=0.2, scale=0.3), SEED)
    np.testing.assert_allclose(changed["target_image"], -changed["image"].numpy(), atol=1e-5)


def test_every_byte_value_becomes_its_float():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = to_float({"image": tf.constant(np.repeat(ramp, 3, -1))})["image"].numpy()
    np.testing.assert_allclose(floats[0, ..., 0], ramp[0, ..., 0] / 127.5 - 1, atol=1e-6)
    assert (floats.min(), floats.max()) == (-1.0, 1.0)


def test_strengths_of_zero_only_turn_images_into_floats():
    batch = random_batch()
    for key, values in change(batch, AugmentConfig(flip=False), SEED).items():
        np.testing.assert_array_equal(values, to_float(batch)[key])


def test_the_same_seed_gives_the_same_batch_alone_and_in_a_pipeline():
    batch, strong = random_batch(), AugmentConfig(flip=True, crop=0.2, scale=0.3, colour=0.2, turn=0.2, light=0.3)
    before = {key: values.numpy() for key, values in batch.items()}
    alone = change(batch, strong, SEED)
    (piped,) = tf.data.Dataset.from_tensors(batch).map(lambda each: change(each, strong, SEED))
    for key in batch:
        np.testing.assert_allclose(alone[key], piped[key], atol=1e-6)
        np.testing.assert_array_equal(batch[key], before[key])
    assert not np.array_equal(alone["image"], change(batch, strong, SEED + 1)["image"])


@pytest.mark.parametrize("strength", [{"crop": -0.1}, {"crop": 0.5}, {"scale": 0.5}, {"colour": 1.0}])
def test_strengths_out_of_range_are_refused(strength):
    (name,) = strength
    with pytest.raises(ValueError, match=rf"\n{name}\n.*(greater|less) than"):
        AugmentConfig(**strength)
