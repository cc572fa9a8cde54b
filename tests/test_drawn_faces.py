"""Drawn faces: deterministic, exact in pairs, every class and every action unit visible, records as the schema says."""

import numpy as np
import pytest

from seghgan_tf.data.folder import read_dataset_json
from seghgan_tf.data.schema import decode_face
from seghgan_tf.expressions import AUS
from seghgan_tf.regions import CLASSES, REGIONS
from tfrecords_tools.draw import contact_sheet, draw_dataset
from tfrecords_tools.drawn_faces import draw_faces, sample_aus, sample_faces


@pytest.fixture(scope="module")
def people():
    return sample_faces(24, seed=3)


@pytest.fixture(scope="module")
def neutral(people):
    return draw_faces(people, np.zeros((len(people), len(AUS))))


def test_a_face_depends_on_seed_and_index_only(people, neutral):
    again = sample_faces(7, seed=3)[4:7]
    images, masks = draw_faces(again, np.zeros((3, len(AUS))))
    np.testing.assert_array_equal(images, neutral[0][4:7])
    np.testing.assert_array_equal(masks, neutral[1][4:7])
    np.testing.assert_array_equal(sample_aus(5, seed=1), sample_aus(9, seed=1)[:5])
    assert not np.array_equal(sample_faces(2, seed=4).skin, people[:2].skin)


def test_taking_faces_keeps_their_order(people, neutral):
    images, _ = draw_faces(people.take([5, 2]), np.zeros((2, len(AUS))))
    np.testing.assert_array_equal(images, neutral[0][[5, 2]])
    assert len(people[2:5]) == 3


def test_all_classes_occur_over_a_hundred_faces():
    _, masks = draw_faces(sample_faces(100, seed=0), sample_aus(100, seed=0))
    pixels = np.bincount(masks.ravel(), minlength=len(CLASSES))
    assert len(pixels) == len(CLASSES)
    assert pixels.min() > 20, dict(zip(CLASSES, pixels, strict=True))


def test_left_classes_lie_at_the_images_right(neutral):
    columns = np.arange(64)
    for left, right in (("l_eye", "r_eye"), ("l_brow", "r_brow")):
        for mask in neutral[1]:
            where = [np.average(columns, weights=(mask == CLASSES.index(name)).sum(0)) for name in (left, right)]
            assert where[0] > where[1]


@pytest.mark.parametrize("name", AUS)
def test_each_action_unit_shows_in_its_own_region(people, neutral, name):
    aus = np.zeros((len(people), len(AUS)))
    aus[:, AUS.index(name)] = 3
    change = np.abs(draw_faces(people, aus)[0].astype(float) - neutral[0]).max(-1) / 255
    assert (change > 0.04).mean(axis=(1, 2)).mean() > 0.007
    region = next(region for region, part in REGIONS.items() if name in part.units)
    y, x = np.average(np.argwhere(change.sum(0) > 0), axis=0, weights=change.sum(0)[change.sum(0) > 0]) / 64
    height, width = REGIONS[region].window
    assert abs(y - REGIONS[region].center[0]) < height / 2 + 0.05
    assert abs(x - 0.5) < width / 2


def test_intensity_is_continuous_and_background_stays(people, neutral):
    smile = np.zeros((len(people), len(AUS)))
    changes = []
    for intensity in (1, 3, 5):
        smile[:, AUS.index("AU12")] = intensity
        changes.append(np.abs(draw_faces(people, smile)[0].astype(float) - neutral[0]))
    assert changes[0].mean() < changes[1].mean() < changes[2].mean()
    assert changes[2][:, :6].max() == 0


def test_regions_fit_their_windows(people, neutral):
    aus = np.zeros((len(people), len(AUS)))
    jaw = aus.copy()
    jaw[:, AUS.index("AU26")] = 5
    dropped = draw_faces(people, jaw)[1]
    for name, masks in (("eyes", neutral[1]), ("nose", neutral[1]), ("mouth", neutral[1]), ("mouth", dropped)):
        height, width = REGIONS[name].window
        for mask in masks:
            points = np.argwhere(np.isin(mask, REGIONS[name].classes))
            reach = np.abs(points - points.mean(0)).max(0) / 64
            assert reach[0] <= height / 2, name
            assert reach[1] <= width / 2, name


def test_wrong_arguments_are_named(people):
    with pytest.raises(ValueError, match="`aus` must have shape"):
        draw_faces(people, np.zeros((2, 17)))
    with pytest.raises(ValueError, match="`aus` must lie in"):
        draw_faces(people[:1], np.full((1, 17), 6.0))
    with pytest.raises(ValueError, match="`count`"):
        sample_faces(-1, seed=0)


def test_dataset_is_reproducible_and_its_splits_share_nobody(tmp_path):
    import tensorflow as tf

    seen = []
    first = draw_dataset(tmp_path / "a", 5, 2, 2, 64, seed=9, progress=lambda done, total: seen.append((done, total)))
    second = draw_dataset(tmp_path / "b", 5, 2, 2, 64, seed=9)
    assert first == second == read_dataset_json(tmp_path / "a")
    assert seen[-1] == (9, 9)
    subjects = set()
    for split, count in (("train", 5), ("validation", 2), ("test", 2)):
        records = list(
            tf.data.TFRecordDataset(str(tmp_path / "a" / f"{split}-00000-of-00001.tfrecord")).as_numpy_iterator()
        )
        assert len(records) == count
        faces = [decode_face(record) for record in records]
        subjects |= {face.subject_id for face in faces}
        assert all(face.mask and face.target_image and set(face.target_aus) == set(AUS) for face in faces)
    assert len(subjects) == 9


def test_drawing_again_keeps_what_is_there_and_refuses_other_folders(tmp_path):
    draw_dataset(tmp_path / "a", 2, 0, 0, 64, seed=1, pairs=False)
    before = (tmp_path / "a" / "dataset.json").stat().st_mtime_ns
    draw_dataset(tmp_path / "a", 2, 0, 0, 64, seed=1, pairs=False)
    assert (tmp_path / "a" / "dataset.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="`output` must be a new folder"):
        draw_dataset(tmp_path / "a", 3, 0, 0, 64, seed=1, pairs=False)
    shard = tmp_path / "a" / "train-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        draw_dataset(tmp_path / "a", 2, 0, 0, 64, seed=1, pairs=False)


def test_contact_sheet_shows_every_action_unit(tmp_path):
    from PIL import Image

    contact_sheet(tmp_path / "sheet.png", 64, 2, seed=0)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 64 * 18
        assert sheet.height > 4 * 64
