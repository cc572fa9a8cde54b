"""Streams of examples: what they yield, what they leave out, in which order, and what they refuse."""

import io
import itertools
import json
import logging
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seghgan_tf.config import AugmentConfig
from seghgan_tf.data.augment import augment
from seghgan_tf.data.schema import Face, encode_face
from seghgan_tf.data.select import expression_source, survey
from seghgan_tf.data.stream import Batching, load_expression_stream, load_segmentation_stream, load_streams
from seghgan_tf.expressions import expression_space
from seghgan_tf.regions import LABEL_ORDER

SIZE = 16
AU12 = expression_space("AU12")


def encode(pixels, image_format="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, image_format)
    return buffer.getvalue()


def numbered_face(number, size=SIZE, **changes):
    """A face whose every pixel is its number, so that a stream's images tell which examples they are."""
    known = {"image": encode(np.full((size, size, 3), number)), "image_format": "png", "height": size, "width": size}
    known |= {"mask": encode(np.full((size, size), number % 19)), "aus": {"AU12": 2.5}, "label": number % 8}
    return Face(image_id=f"face-{number}", source="test", **(known | changes))


def write(folder, faces, split="train", shards=2, **description):
    folder.mkdir(exist_ok=True)
    entries = []
    for shard in range(shards):
        name = f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"
        part = faces[shard::shards]
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for face in part:
                writer.write(encode_face(face))
        entries.append({"file": name, "examples": len(part), "sha256": ""})
    stored = {
        "schema_version": 1,
        "label_order": LABEL_ORDER,
        "splits": {split: {"examples": len(faces), "shards": entries}},
        "expression": expression_space("aus").to_json(),
        "pairs": False,
        "a key of another release": 1,
    }
    (folder / "dataset.json").write_text(json.dumps(stored | description))
    return folder


def expressions(folder, *, split="train", space=AU12, image_size=SIZE, batch_size=2, **options):
    how = Batching(image_size=image_size, batch_size=batch_size, **options)
    return load_expression_stream(folder, split, space, how)


def masks(folder, *, split="train", image_size=SIZE, batch_size=2, **options):
    return load_segmentation_stream(folder, split, Batching(image_size=image_size, batch_size=batch_size, **options))


def endless(**options):
    return Batching(image_size=SIZE, training=True, deterministic=True, **options)


def numbers(batch):
    return np.rint((augment(batch)["image"].numpy()[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def all_numbers(stream):
    return [number for batch in stream for number in numbers(batch)]


@pytest.fixture
def ten(tmp_path):
    return write(tmp_path / "ten", [numbered_face(number) for number in range(10)])


def test_expression_batches_hold_float_images_and_scaled_intensities(ten):
    batch = next(iter(expressions(ten)))
    assert set(batch) == {"image", "expression"}
    assert batch["image"].shape == (2, SIZE, SIZE, 3)
    assert batch["image"].dtype == tf.float32
    np.testing.assert_allclose(batch["image"][0], -1.0)
    np.testing.assert_allclose(batch["expression"], [[0.5], [0.5]])


def test_segmentation_batches_hold_images_and_class_ids(ten):
    batch = next(iter(masks(ten)))
    assert set(batch) == {"image", "mask"}
    assert batch["mask"].shape == (2, SIZE, SIZE)
    assert batch["mask"].dtype == tf.int32
    np.testing.assert_array_equal(batch["mask"][:, 3, 3], numbers(batch))


def test_action_units_come_in_the_order_of_the_space_whatever_the_record_carries(tmp_path):
    faces = [
        numbered_face(0, aus={"AU45": 1.0, "AU12": 5.0, "AU25": 0.5, "AU04": 2.0}),
        numbered_face(1, aus={"AU25": 1.0, "AU12": 0.0}),
    ]
    stream = expressions(write(tmp_path / "d", faces, shards=1), space=expression_space("AU25,AU12"))
    np.testing.assert_allclose(next(iter(stream))["expression"], [[0.1, 1.0], [0.2, 0.0]], rtol=1e-6)


def test_emotions_are_one_hot_and_unknown_labels_are_left_out(tmp_path):
    faces = [
        numbered_face(0, label=3),
        numbered_face(1, label=None),
        numbered_face(2, label=9),
        numbered_face(3, label=0),
    ]
    folder = write(tmp_path / "d", faces, expression=expression_space("emotions").to_json())
    (batch,) = expressions(folder, space=expression_space("emotions"))
    assert numbers(batch) == [0, 3]
    np.testing.assert_array_equal(batch["expression"], np.eye(8)[[3, 0]])


def test_valence_and_arousal_are_stored_as_they_are(tmp_path):
    faces = [numbered_face(0, valence=-0.5, arousal=0.25), numbered_face(1, valence=0.5)]
    folder = write(tmp_path / "d", faces, expression=expression_space("va").to_json())
    (batch,) = expressions(folder, space=expression_space("va"))
    np.testing.assert_allclose(batch["expression"], [[-0.5, 0.25]])


def test_records_without_the_action_units_are_left_out_and_counted(tmp_path, caplog):
    faces = [
        numbered_face(0),
        numbered_face(1, aus={"AU25": 1.0}),
        numbered_face(2, aus=None),
        numbered_face(3, aus={"AU12": float("nan")}),
    ]
    folder = write(tmp_path / "d", [*faces, numbered_face(4)])
    with caplog.at_level(logging.WARNING):
        assert sorted(all_numbers(expressions(folder))) == [0, 4]
    assert "left out 3 of 5 train records, which lack values of AU12" in caplog.text
    found = survey(expression_source(folder, "train", AU12))
    assert (found.read, found.usable, found.complete) == (5, 2, True)


def test_records_without_a_mask_are_left_out_of_the_segmentation_stream(tmp_path, caplog):
    folder = write(tmp_path / "d", [numbered_face(0), numbered_face(1, mask=None), numbered_face(2)])
    with caplog.at_level(logging.WARNING):
        assert sorted(all_numbers(masks(folder))) == [0, 2]
    assert "left out 1 of 3 train records, which lack a mask" in caplog.text


def test_drawn_pairs_bring_their_targets(tmp_path):
    target = {"target_image": encode(np.full((SIZE, SIZE, 3), 255)), "target_aus": {"AU25": 1.0, "AU12": 5.0}}
    faces = [numbered_face(0, **target), numbered_face(1)]
    pairs = write(tmp_path / "pairs", faces, pairs=True)
    (batch,) = expressions(pairs)
    assert set(batch) == {"image", "expression", "target_image", "target_expression"}
    np.testing.assert_allclose(batch["target_image"], np.ones((1, SIZE, SIZE, 3)))
    np.testing.assert_allclose(batch["target_expression"], [[1.0]])
    assert set(next(iter(expressions(pairs, space=expression_space("emotions"))))) == {"image", "expression"}
    single = write(tmp_path / "single", [numbered_face(2)], shards=1)
    assert set(next(iter(expressions([pairs, single])))) == {"image", "expression"}


def test_folders_are_read_one_with_another(tmp_path, ten):
    more = write(tmp_path / "more", [numbered_face(number) for number in range(10, 13)])
    assert sorted(all_numbers(expressions([ten, str(more)]))) == list(range(13))


def test_a_folder_without_the_split_is_left_out_where_another_has_it(tmp_path, ten, caplog):
    held_out = write(tmp_path / "more", [numbered_face(20)], shards=1, split="validation")
    with caplog.at_level(logging.WARNING):
        assert sorted(all_numbers(expressions([ten, held_out]))) == list(range(10))
    assert "more: no train examples; the other folders are read" in caplog.text
    with pytest.raises(
        ValueError, match=r"ten/dataset\.json.*\(train\) or .*more/dataset\.json.*\(validation\).*Received: test"
    ):
        expressions([ten, held_out], split="test")


def test_other_sizes_are_cut_to_the_central_square_and_resized(tmp_path):
    wide = np.zeros((32, 48, 3))
    wide[:, 8:24] = 255  # the left half of the central square
    mask = np.zeros((32, 48))
    mask[:, 8:24] = 13
    face = numbered_face(0, image=encode(wide), mask=encode(mask), height=32, width=48)
    folder = write(tmp_path / "d", [face, numbered_face(7, size=64), numbered_face(9)], shards=1)
    batch = next(iter(masks(folder, batch_size=3)))
    assert batch["image"].shape == (3, SIZE, SIZE, 3)
    np.testing.assert_allclose(batch["image"][0, :, :7], 1.0)
    np.testing.assert_allclose(batch["image"][0, :, 9:], -1.0)
    np.testing.assert_array_equal(batch["mask"][0], np.repeat([[13] * 8 + [0] * 8], SIZE, axis=0))
    np.testing.assert_array_equal(batch["mask"][1], np.full((SIZE, SIZE), 7))
    assert numbers(batch) == [255, 7, 9]


def test_jpeg_images_are_decoded_as_pillow_decodes_them(tmp_path):
    pixels = np.tile(np.linspace(0, 255, SIZE)[None, :, None], (SIZE, 1, 3))
    jpeg = encode(pixels, "JPEG")
    folder = write(tmp_path / "d", [numbered_face(0, image=jpeg, image_format="jpeg")], shards=1)
    (batch,) = expressions(folder)
    expected = np.asarray(Image.open(io.BytesIO(jpeg)), np.float32) / 127.5 - 1
    np.testing.assert_allclose(batch["image"][0], expected, atol=3 / 127.5)


def test_evaluation_reads_each_example_once_in_the_same_order(ten):
    stream = expressions(ten, batch_size=4)
    assert [len(numbers(batch)) for batch in stream] == [4, 4, 2]
    assert len(stream) == 3
    assert sorted(all_numbers(stream)) == list(range(10))
    assert all_numbers(stream) == all_numbers(expressions(ten, batch_size=4, seed=5, cache=True))


@pytest.mark.parametrize("cache", [False, True])
def test_training_repeats_in_full_batches_and_in_another_order_each_epoch(ten, cache):
    stream = expressions(ten, batch_size=5, training=True, cache=cache, deterministic=True)
    batches = [numbers(batch) for batch in stream.take(8)]
    epochs = [batches[start] + batches[start + 1] for start in range(0, 8, 2)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_larger_than_the_split_are_filled(ten):
    batch = next(iter(expressions(ten, batch_size=25, training=True)))
    assert set(Counter(numbers(batch)).values()) <= {2, 3}


@pytest.mark.parametrize("cache", [False, True])
def test_equal_seeds_give_equal_batches_when_deterministic(ten, cache):
    def read(seed):
        strong = AugmentConfig(flip=True, crop=0.2, scale=0.2, colour=0.3)
        options = {"augment": strong, "deterministic": True, "cache": cache, "balanced": True}
        return np.stack(
            [augment(batch)["image"] for batch in expressions(ten, training=True, seed=seed, **options).take(12)]
        )

    first = read(3)
    np.testing.assert_array_equal(first, read(3))
    assert not np.array_equal(first, read(4))


@pytest.mark.parametrize(("workers", "shards"), [(2, 4), (3, 4), (3, 1), (4, 2)])
def test_workers_share_out_every_example_exactly_once(tmp_path, workers, shards):
    folder = write(tmp_path / "d", [numbered_face(number) for number in range(11)], shards=shards)
    shares = [
        all_numbers(
            expressions(folder, batch_size=workers, input_context=tf.distribute.InputContext(workers, index, workers))
        )
        for index in range(workers)
    ]
    assert all(shares)
    assert sorted(itertools.chain(*shares)) == list(range(11))


def test_the_batch_is_split_over_replicas(ten):
    context = tf.distribute.InputContext(num_input_pipelines=1, input_pipeline_id=0, num_replicas_in_sync=2)
    batch = next(iter(expressions(ten, batch_size=8, training=True, input_context=context)))
    assert batch["image"].shape == (4, SIZE, SIZE, 3)


def test_the_two_streams_repeat_independently(tmp_path):
    faces = write(tmp_path / "faces", [numbered_face(number, mask=None) for number in range(4)])
    parsed = write(tmp_path / "parsed", [numbered_face(number, aus=None) for number in range(10, 13)], expression=None)
    stream = tf.data.Dataset.zip(load_streams(faces, parsed, "train", AU12, endless(batch_size=1), critic_steps=2))
    seen = {"expression": Counter(), "segmentation": Counter()}
    for batch in stream.take(12):
        assert batch["expression"]["image"].shape == (2, SIZE, SIZE, 3)
        assert batch["segmentation"]["mask"].shape == (1, SIZE, SIZE)
        for name, counts in seen.items():
            counts.update(numbers(batch[name]))
    assert seen["expression"] == dict.fromkeys(range(4), 6)
    assert seen["segmentation"] == dict.fromkeys(range(10, 13), 4)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("start", [3, 5, 7])
def test_a_stream_goes_on_as_if_it_had_never_been_cut(ten, cache, start):
    options = {
        "batch_size": 4,
        "training": True,
        "deterministic": True,
        "cache": cache,
        "augment": AugmentConfig(colour=0.2),
    }
    whole = list(expressions(ten, **options).take(9))
    rest = list(expressions(ten, start=start, **options).take(9 - start))
    for expected, batch in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(augment(batch)["image"], augment(expected)["image"])
        np.testing.assert_array_equal(batch["expression"], expected["expression"])
    seen = all_numbers(expressions(ten, **options | {"augment": None}).take(9))  # a changed colour is no number
    epochs = [sorted(seen[i : i + 10]) for i in (0, 10, 20)]
    assert epochs == [list(range(10))] * 3, "every epoch shows every example once"
    assert seen[:10] != seen[10:20]


def test_one_folder_can_serve_both_streams_in_different_orders(ten):
    stream = tf.data.Dataset.zip(load_streams(ten, (), "train", AU12, endless(batch_size=2, cache=True)))
    batches = list(stream.take(5))
    assert [numbers(batch["expression"]) for batch in batches] != [numbers(batch["segmentation"]) for batch in batches]


@pytest.mark.parametrize("cache", [False, True])
def test_balanced_sampling_shows_rare_emotions_as_often_as_common_ones(tmp_path, cache):
    faces = [numbered_face(number, label=1 if number % 10 else 6) for number in range(60)]
    folder = write(tmp_path / "d", faces, expression=expression_space("emotions").to_json())
    space = expression_space("emotions")
    stream = expressions(folder, space=space, training=True, batch_size=20, balanced=True, cache=cache)
    labels = np.concatenate([np.argmax(batch["expression"], -1) for batch in stream.take(30)])
    assert 0.4 < np.mean(labels == 6) < 0.6
    everyone = set(all_numbers(stream.take(30)))
    assert len(everyone) > 50


def test_balanced_sampling_counts_the_dominant_action_unit(tmp_path):
    common, rare, none = {"AU12": 4.0, "AU04": 1.0}, {"AU12": 1.0, "AU04": 3.0}, {"AU12": 0.5, "AU04": 0.0}
    faces = [numbered_face(number, aus=common) for number in range(40)]
    faces += [numbered_face(number, aus=rare) for number in range(40, 46)] + [
        numbered_face(46 + number, aus=none) for number in range(6)
    ]
    folder, space = write(tmp_path / "d", faces), expression_space("AU04,AU12")
    assert survey(expression_source(folder, "train", space)).buckets == (6, 40, 0, 0, 6)
    stream = expressions(folder, space=space, training=True, batch_size=30, balanced=True)
    shown = Counter(
        "common" if number < 40 else "rare" if number < 46 else "none" for number in all_numbers(stream.take(30))
    )
    assert all(0.25 < count / 900 < 0.42 for count in shown.values())


def test_augmentation_is_for_training_alone(ten):
    strong = AugmentConfig(colour=0.9)
    assert all_numbers(expressions(ten, augment=strong)) == all_numbers(expressions(ten))


@pytest.mark.parametrize("training", [False, True])
def test_the_smallest_decoder_pool_reads_everything(ten, training):
    stream = expressions(ten, workers=1, training=training).take(5)
    assert stream.options().threading.private_threadpool_size == 1
    assert sorted(all_numbers(stream)) == list(range(10))


def test_pictures_whose_size_is_known_beforehand_are_decoded_as_those_that_are_looked_at(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
    faces = [
        numbered_face(number, image=encode(pixels, "JPEG"), mask=encode(pixels[..., 0] % 19))
        for number, pixels in enumerate(noise)
    ]
    known = write(tmp_path / "known", faces, image_size=SIZE)
    looked_at = write(tmp_path / "looked-at", faces)
    assert expression_source(known, "train", AU12).side == SIZE
    assert expression_source(looked_at, "train", AU12).side is None
    streams = (load_segmentation_stream(one, "train", endless(batch_size=3)).take(5) for one in (known, looked_at))
    for first, second in zip(*streams, strict=True):
        for key in ("image", "mask"):
            assert first[key].dtype == tf.uint8
            np.testing.assert_array_equal(first[key], second[key])


def test_a_folder_without_description_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dataset\.json.*Received: .*nowhere"):
        expressions(tmp_path / "nowhere")


def test_no_folder_is_refused():
    with pytest.raises(ValueError, match=r"at least one folder.*seghgan data convert"):
        expressions(())


@pytest.mark.parametrize("change", [{"schema_version": 99}, {"label_order": "another"}])
def test_another_schema_is_refused(tmp_path, change):
    folder = write(tmp_path / "d", [numbered_face(0)], **change)
    with pytest.raises(
        ValueError, match=r"d/dataset\.json.*schema version 1.*convert the data again.*Received: .*(99|another)"
    ):
        masks(folder)


def test_data_without_expressions_is_refused(tmp_path):
    folder = write(tmp_path / "d", [numbered_face(0)], expression=None)
    with pytest.raises(
        ValueError, match=r"d/dataset\.json.*expression space.*AU12.*seghgan data convert.*without expressions"
    ):
        expressions(folder)


def test_a_dataset_of_another_space_names_its_own_and_the_setting(tmp_path):
    folder = write(tmp_path / "d", [numbered_face(number, label=1, aus=None) for number in range(2)])
    stored = json.loads((folder / "dataset.json").read_text())
    counts = {"labels": {"happy": 2}, "units": {}, "with_units": 0, "with_affect": 0, "with_target": 0}
    stored["splits"]["train"] |= counts
    (folder / "dataset.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"model.expression_space=emotions.*Received: AU12"):
        expressions(folder, training=True)


def test_action_units_that_the_data_lacks_are_shown_beside_those_it_has(tmp_path):
    folder = write(tmp_path / "d", [numbered_face(0)], expression=expression_space("AU12,AU25").to_json())
    with pytest.raises(ValueError, match=r"d/dataset\.json.*AU04, AU12.*model\.expression_space.*Received: AU12, AU25"):
        expressions(folder, space=expression_space("AU04,AU12"))


@pytest.mark.parametrize("entry", [None, {"examples": 0, "shards": []}])
def test_an_empty_split_is_refused_with_the_splits_there_are(tmp_path, entry):
    folder = write(tmp_path / "d", [numbered_face(0)])
    path = folder / "dataset.json"
    stored = json.loads(path.read_text())
    if entry:
        stored["splits"]["test"] = entry
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"`split`.*d/dataset\.json.*\(train\).*seghgan data convert.*Received: test"):
        expressions(folder, split="test")


def test_a_missing_shard_is_named(ten):
    (ten / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(ValueError, match=r"seghgan data validate .*ten.*without train-00001-of-00002\.tfrecord"):
        expressions(ten)


def test_shards_are_found_by_name_where_the_description_lists_none(ten):
    path = ten / "dataset.json"
    stored = json.loads(path.read_text())
    del stored["splits"]["train"]["shards"]
    path.write_text(json.dumps(stored))
    assert sorted(all_numbers(expressions(ten))) == list(range(10))


COUNTED = {
    "labels": {},
    "units": {"AU12": 3, "AU25": 2},
    "with_units": 3,
    "with_affect": 0,
    "with_target": 0,
    "masks": 3,
}


def test_records_are_not_read_beforehand_where_the_description_counts_them(tmp_path, caplog):
    """Shards whose records are broken but as long as they were: only a stream that counts for itself sees it."""
    faces = [numbered_face(number) for number in range(3)] + [numbered_face(3, aus=None, mask=None)]
    folder = write(tmp_path / "d", faces)
    path = folder / "dataset.json"
    stored = json.loads(path.read_text())
    stored["splits"]["train"] |= COUNTED
    path.write_text(json.dumps(stored))
    with caplog.at_level(logging.WARNING):
        assert len(expressions(folder)) == len(masks(folder)) == 2
    assert "left out 1 of 4 train records, which lack values of AU12" in caplog.text
    assert sorted(all_numbers(expressions(folder))) == sorted(all_numbers(masks(folder))) == [0, 1, 2]
    for shard in folder.glob("*.tfrecord"):
        shard.write_bytes(bytes(len(shard.read_bytes())))
    assert len(expressions(folder)) == len(masks(folder)) == 2
    for asked in ({"balanced": True, "training": True}, {"space": expression_space("AU12,AU25")}):
        with pytest.raises(ValueError, match=r"seghgan data (validate|inspect)"):
            expressions(folder, **asked)
    with pytest.raises(ValueError, match=r"set model\.expression_space=AU12,AU25, or add .*Received: AU04 for"):
        expressions(folder, space=expression_space("AU04"))


def test_a_shard_that_is_not_as_long_as_it_was_is_refused(ten):
    path, shard = ten / "dataset.json", ten / "train-00000-of-00002.tfrecord"
    stored = json.loads(path.read_text())
    stored["splits"]["train"]["shards"][0]["bytes"] = shard.stat().st_size
    stored["splits"]["train"] |= COUNTED
    path.write_text(json.dumps(stored))
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(ValueError, match="damaged train-00000-of-00002"):
        expressions(ten)


def test_a_damaged_shard_is_refused_before_training(ten):
    shard = ten / "train-00000-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"seghgan data validate.*ten"):
        expressions(ten, training=True)


def test_records_of_another_schema_are_refused_before_training(ten):
    with tf.io.TFRecordWriter(str(ten / "train-00000-of-00002.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match=r"seghgan data validate.*ten"):
        masks(ten, training=True)


def test_a_split_without_any_usable_record_is_refused(tmp_path):
    folder = write(tmp_path / "d", [numbered_face(0, aus=None, mask=None), numbered_face(1, aus=None, mask=None)])
    with pytest.raises(ValueError, match=r"values of AU12.*seghgan data inspect.*2 records, all without"):
        expressions(folder)
    with pytest.raises(ValueError, match=r"a mask.*seghgan data inspect.*2 records, all without"):
        masks(folder)


@pytest.mark.parametrize("stream", [expressions, masks])
def test_who_is_in_an_image_is_told_where_it_is_asked_for(tmp_path, stream):
    names = ("ann", "bob", None, "ann")
    folder = write(tmp_path / "data", [numbered_face(i, subject_id=name) for i, name in enumerate(names)], shards=1)
    (batch,) = stream(folder, batch_size=4, people=True)
    assert batch["subject"].numpy().tolist() == [b"ann", b"bob", b"", b"ann"]
    assert "subject" not in stream(folder).element_spec
