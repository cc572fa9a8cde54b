"""Each thing that `seghgan data validate` promises to find, done to a sound folder: named, with exit status 1."""

import dataclasses
import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from seghgan_tf.data.folder import read_shard
from seghgan_tf.data.schema import decode_mask, encode_face
from seghgan_tf.regions import CLASSES
from tests.data_tools import layouts
from tfrecords_tools.cli import app
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing, encode_mask
from tfrecords_tools.images import encode_image
from tfrecords_tools.masks import BISENET, ORDERS, relations


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    source = layouts.celebamask(root / "in", 6)
    convert(Conversion("celebamask", str(source), Picturing(64), validation=0, test=0), root / "out")
    return root / "out"


def rewritten(folder, change):
    """Write the one shard anew with its faces changed, its digest and length told truly."""
    about = json.loads((folder / "dataset.json").read_text())
    (shard,) = about["splits"]["train"]["shards"]
    path = folder / shard["file"]
    faces = [change(number, face) for number, face in enumerate(read_shard(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for face in faces:
            writer.write(encode_face(face))
    shard.update(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    (folder / "dataset.json").write_text(json.dumps(about))


def first(**fields):
    return lambda number, face: dataclasses.replace(face, **fields) if number == 0 else face


def in_bisenet_order(number, face):
    ids = np.array([BISENET.index(name) for name in ORDERS["g_mask"]], np.uint8)
    return dataclasses.replace(face, mask=encode_mask(ids[decode_mask(face.mask)]))


def mirrored(number, face):
    return dataclasses.replace(face, mask=encode_mask(np.ascontiguousarray(decode_mask(face.mask)[:, ::-1])))


def one_mirrored(number, face):
    return mirrored(number, face) if face.image_id == "celebamask-4" else face


def one_exchanged(number, face):
    """The classes of one side named as the other's, where they lie: as in some masks of CelebAMask-HQ."""
    ids = np.arange(len(CLASSES), dtype=np.uint8)
    for part in ("eye", "brow", "ear"):
        left, right = CLASSES.index(f"l_{part}"), CLASSES.index(f"r_{part}")
        ids[[left, right]] = right, left
    return dataclasses.replace(face, mask=encode_mask(ids[decode_mask(face.mask)])) if number == 0 else face


def many_ids(number, face):
    from PIL import Image

    png, _ = encode_image(Image.fromarray(np.full((64, 64), 40, np.uint8)), 0)
    return dataclasses.replace(face, mask=png) if number == 0 else face


CHANGES = {
    "an image that does not decode": (first(image=b"\xff\xd8 torn"), "its image does not decode as jpeg"),
    "another size than told": (first(width=63), "its image is 64 x 64, the record tells of 63 x 64"),
    "a mask that does not decode": (first(mask=b"torn"), "its mask does not decode"),
    "a mask of another size": (first(mask=encode_mask(np.zeros((32, 64), np.uint8))), "its mask has the shape (32, 64)"),
    "a class id beyond the classes": (many_ids, "its mask has the class id 40"),
    "an action unit out of range": (first(aus={"AU12": 5.5}), "AU12 is 5.5; action units are 0 to 5"),
    "a label beyond the emotions": (first(label=8), "its label is 8; emotions are 0 to 7"),
    "a valence out of range": (first(valence=1.5, arousal=0.0), "valence is 1.5; it may be -1 to 1"),
    "an arousal that is no number": (first(valence=0.0, arousal=math.nan), "arousal is nan"),
    "an empty id": (first(image_id=""), "it has no id"),
    "two records of one id": (lambda number, face: dataclasses.replace(face, image_id="one"), "the id one is there twice"),
    "another label order": (in_bisenet_order, "is it another label order, or mirrored?"),
    "one mask that is mirrored": (one_mirrored, "celebamask-4: its mask has left and right exchanged, and would lie on its image better mirrored"),
    "masks that are mirrored": (mirrored, "is it another label order, or mirrored?"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_damaged_folder_is_named_and_sets_the_exit_status(sound, tmp_path, what):
    change, words = CHANGES[what]
    folder = tmp_path / "out"
    shutil.copytree(sound, folder)
    rewritten(folder, change)
    done = CliRunner().invoke(app, ["validate", str(folder), "--workers", "1"], env={"COLUMNS": "400"})
    assert words in done.output
    assert done.exit_code == 1


def test_an_unchanged_folder_written_anew_is_sound(sound, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(sound, folder)
    rewritten(folder, lambda number, face: face)
    done = CliRunner().invoke(app, ["validate", str(folder), "--workers", "1"])
    assert (done.exit_code, "sound" in done.output) == (0, True)


def test_a_mask_whose_left_and_right_are_exchanged_is_named_and_no_problem(sound, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(sound, folder)
    rewritten(folder, one_exchanged)
    done = CliRunner().invoke(app, ["validate", str(folder), "--workers", "1"], env={"COLUMNS": "400"})
    (shard,) = json.loads((folder / "dataset.json").read_text())["splits"]["train"]["shards"]
    first_id = next(read_shard(folder / shard["file"])).image_id
    assert (
        f"masks with left and right exchanged, as about one in 15 of CelebAMask-HQ has them: 1 ({first_id})"
        in done.output
    )
    assert (done.exit_code, "sound" in done.output) == (0, True)


def test_tensorflow_and_pillow_read_the_masks_of_records_alike():
    for mask in layouts.drawn(3)[1]:
        np.testing.assert_array_equal(tf.io.decode_png(encode_mask(mask))[..., 0], mask)
        np.testing.assert_array_equal(decode_mask(encode_mask(mask)), mask)


def plain_relations(mask):
    """Relations by the middles of each part's pixels, one part after the other."""
    above = "l_brow l_eye, r_brow r_eye, l_eye nose, r_eye nose, nose u_lip, u_lip l_lip"
    left = "r_eye l_eye, r_brow l_brow, r_ear l_ear, r_eye nose, nose l_eye"
    held = seen = 0
    for axis, pairs in enumerate((above, left)):
        for pair in pairs.split(", "):
            places = [np.argwhere(mask == CLASSES.index(name)) for name in pair.split()]
            if min(map(len, places)) >= 8:
                way = places[1].mean(0) - places[0].mean(0)
                held, seen = held + (way[axis] > 0.3 * np.hypot(*way)), seen + 1
    return held, seen


def test_relations_are_those_of_the_middles_of_each_parts_pixels():
    masks = layouts.drawn(3)[1]
    noise = np.random.default_rng(0).integers(0, 19, (30, 50)).astype(np.uint8)
    for mask in (*masks, masks[0].T, masks[0][::-1], masks[0][:, ::-1], masks[1][20:45, 5:], noise):
        assert relations(mask) == plain_relations(mask)
    assert relations(masks[0]) != relations(masks[0][::-1])
