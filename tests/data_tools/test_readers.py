"""Every published layout, made from drawn faces, comes back from its records: pixels, masks, action units, labels, splits."""

import os
import shutil
import sys

import numpy as np
import pytest

from seghgan_tf.data.folder import read_dataset_json, read_split
from seghgan_tf.expressions import AUS, EMOTIONS
from seghgan_tf.regions import CLASSES
from tests.data_tools import layouts
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing
from tfrecords_tools.masks import BISENET
from tfrecords_tools.readers import celebamask, read_dataset
from tfrecords_tools.readers.files import image_files
from tfrecords_tools.readers.folder import read_folder


def records(folder):
    description = read_dataset_json(folder)
    return {
        face.image_id: (split, face)
        for split in description["splits"]
        for face in read_split(folder, description, split)
    }


def converted(dataset, source, output, size=None, align="none", **more):
    how = {key: more.pop(key) for key in ("jpeg_quality", "drawn_on") if key in more}
    conversion = Conversion(dataset, str(source), Picturing(size, align, **how), **more)
    return convert(conversion, output), records(output)


def reasons(description, key="rejected"):
    return {each["reason"]: each["count"] for each in description[key]}


def test_celebamask_official_layout_keeps_jpeg_bytes_and_builds_masks_of_its_parts(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    description, found = converted("celebamask", source, tmp_path / "out")
    assert sorted(found) == [f"celebamask-{number}" for number in range(4)]
    for number in range(4):
        face = found[f"celebamask-{number}"][1]
        assert face.image == (source / "CelebA-HQ-img" / f"{number}.jpg").read_bytes()
        np.testing.assert_array_equal(layouts.decoded(face.mask)[::2, ::2], layouts.drawn(4)[1][number])
        assert (face.height, face.width, face.image_format) == (128, 128, "jpeg")
    assert description["masks"] == 4
    assert description["rejected"] == []
    assert description["image_size"] == 128


def test_celebamask_resized_photo_and_mask_stay_in_register(tmp_path):
    _, found = converted("celebamask", layouts.celebamask(tmp_path / "in"), tmp_path / "out", size=64)
    images, masks, _ = layouts.drawn(4)
    for number in range(4):
        face = found[f"celebamask-{number}"][1]
        np.testing.assert_array_equal(layouts.decoded(face.mask), masks[number])
        assert np.abs(layouts.decoded(face.image).astype(int) - images[number]).mean() < 6
        assert face.alignment == (0.5, 0.0, 0.0, 0.0, 0.5, 0.0)


def test_celebamask_split_is_the_official_one_of_the_mapping_file(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    lines = ["idx    orig_idx    orig_file"]
    lines += [f"{i}  {index}  {index + 1:06d}.jpg" for i, index in enumerate((119613, 162770, 162771, 182638))]
    (source / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines))
    description, found = converted("celebamask", source, tmp_path / "out")
    assert [found[f"celebamask-{i}"][0] for i in range(4)] == ["train", "train", "validation", "test"]
    assert {split: entry["examples"] for split, entry in description["splits"].items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip
    (source / "list_eval_partition.txt").write_text("119614.jpg 2\n162771.jpg 1\n162772.jpg 0\n182639.jpg 0\n")
    _, found = converted("celebamask", source, tmp_path / "other")
    assert [found[f"celebamask-{i}"][0] for i in range(4)] == ["test", "validation", "train", "train"]


def test_celebamask_smiling_attribute_becomes_happy_and_not_smiling_is_unknown(tmp_path):
    source = layouts.celebamask(tmp_path / "in", 2)
    (source / "CelebAMask-HQ-attribute-anno.txt").write_text("2\nBald Smiling Young\n0.jpg  -1 1 1\n1.jpg  -1 -1 1\n")
    description, found = converted("celebamask", source, tmp_path / "out")
    assert found["celebamask-0"][1].label == EMOTIONS.index("happy")
    assert found["celebamask-1"][1].label is None
    assert description["expression"]["labels"] == list(EMOTIONS)


@pytest.mark.parametrize(("order", "names"), [("g_mask", None), ("bisenet", BISENET)])
def test_label_maps_of_either_order_become_the_same_ids(tmp_path, order, names):
    source = layouts.label_maps(tmp_path / "in", order=names)
    _, found = converted("celebamask", source, tmp_path / "out", options={"label_order": order})
    for number in range(4):
        mask = layouts.decoded(found[f"celebamask-face{number}"][1].mask)
        np.testing.assert_array_equal(mask, layouts.drawn(4)[1][number])


@pytest.mark.parametrize(("order", "names"), [("bisenet", None), ("g_mask", BISENET)])
def test_label_maps_read_in_the_wrong_order_are_an_error_that_names_the_right_one(tmp_path, order, names):
    source = layouts.label_maps(tmp_path / "in", 8, names)
    right = "bisenet" if order == "g_mask" else "g_mask"
    with pytest.raises(ValueError, match=f"--label-order {right}"):
        converted("celebamask", source, tmp_path / "out", options={"label_order": order})


def test_overlapping_parts_are_resolved_in_the_order_of_the_datasets_own_tool(tmp_path):
    source = layouts.celebamask(tmp_path / "in", 1)
    whole = np.full((64, 64, 3), 255, np.uint8)
    for part in ("skin", "hair", "hat"):
        layouts.save_png(source / "CelebAMask-HQ-mask-anno" / "0" / f"00000_{part}.png", whole)
    (face,) = [face for _, face in converted("celebamask", source, tmp_path / "out")[1].values()]
    mask = layouts.decoded(face.mask)
    assert CLASSES.index("skin") not in mask
    assert CLASSES.index("hair") not in mask
    assert (mask == CLASSES.index("hat")).any()


def test_london_photos_of_a_person_share_a_split_and_come_to_one_frame(tmp_path):
    source = layouts.london(tmp_path / "in", 6)
    description, found = converted("london", source, tmp_path / "out", 64, "landmarks", validation=2, test=4)
    assert len(found) == 12
    by_person = {}
    for split, face in found.values():
        by_person.setdefault(face.subject_id, set()).add(split)
        assert face.label == EMOTIONS.index("neutral" if face.image_id.endswith("03") else "happy")
        np.testing.assert_allclose(face.alignment, (64 / 270, 0, 0, 0, 64 / 270, 0), atol=1e-4)
    assert all(len(splits) == 1 for splits in by_person.values())
    assert {split: entry["examples"] for split, entry in description["splits"].items()} == {
        "train": 6, "validation": 2, "test": 4,
    }  # fmt: skip


def test_london_broken_landmarks_and_strange_names_are_rejected_alone(tmp_path):
    source = layouts.london(tmp_path / "in", 3)
    (source / "neutral_front" / "001_03.tem").write_text("189\n1 2\n")
    layouts.save_jpeg(source / "neutral_front" / "cat.jpg", layouts.drawn(1)[0][0])
    layouts.save_jpeg(source / "neutral_front" / "999_03.jpg", layouts.drawn(1)[0][0])
    description, found = converted("london", source, tmp_path / "out", 64, "landmarks")
    assert len(found) == 5
    assert reasons(description) == {"broken_annotation": 1, "unknown_file_name": 2}


def test_rafd_names_tell_label_and_subject_and_filters_exclude_by_name(tmp_path):
    source = layouts.rafd(tmp_path / "in")
    layouts.save_jpeg(source / "Rafd090_04_Caucasian_female_bored_frontal.jpg", layouts.drawn(1)[0][0])
    layouts.save_jpeg(source / "Rafd091_04_Caucasian_female_angry_frontal.jpg", layouts.drawn(1)[0][0])
    options = {"camera": [90], "gaze": ["frontal"]}
    description, found = converted("rafd", source, tmp_path / "out", 64, options=options)
    assert len(found) == 6
    face = found["rafd-Rafd090_02_Caucasian_female_happy_frontal"][1]
    assert (face.subject_id, face.label) == ("rafd-02", EMOTIONS.index("happy"))
    assert reasons(description) == {"unknown_label": 1, "unknown_file_name": 1}
    assert reasons(description, "excluded") == {"camera 045": 12, "gaze left": 6}
    assert all(face.height == face.width == 64 for _, face in found.values())


def test_rafd_splits_by_person(tmp_path):
    source = layouts.rafd(tmp_path / "in", people=[f"{i:02d}" for i in range(1, 9)])
    _, found = converted("rafd", source, tmp_path / "out", 64, validation=0.25, test=0.25)
    people = {
        split: {face.subject_id for other, face in found.values() if other == split} for split in layouts_splits()
    }
    assert all(people.values())
    assert sum(map(len, people.values())) == 8


def layouts_splits():
    return ("train", "validation", "test")


ROWS_2017 = [
    ("training.csv", "a/1.jpg", 0, 0.1, -0.2), ("training.csv", "a/2.JPG", 7, -0.5, 0.5), ("training.csv", "a/3.jpg", 8, -2, -2),
    ("training.csv", "a/4.jpg", 10, -2, -2), ("training.csv", "a/5.jpg", 11, 0, 0), ("training.csv", "a/6.jpg", 1, 1.5, 0),
    ("training.csv", "a/7.jpg", 1, "nan", 0), ("validation.csv", "b/8.jpg", 6, -0.75, 0.25), ("training.csv", "a/9.jpg", 9, -2, -2),
]  # fmt: skip


def test_affectnet_2017_reads_labels_affect_and_landmarks_and_counts_what_is_no_emotion(tmp_path):
    source = layouts.affectnet_2017(tmp_path / "in", ROWS_2017)
    with (source / "training.csv").open("a") as table:
        table.write("a/gone.jpg,1,1,60,60,,1,0,0\n")
        table.write("a/1.jpg,1,1,60,60,1;2;3,1,0,0\n")
    description, found = converted("affectnet", source, tmp_path / "out", 32, "landmarks")
    assert {name: split for name, (split, _) in found.items()} == {
        "affectnet-a/1": "train", "affectnet-a/2": "train", "affectnet-b/8": "validation",
    }  # fmt: skip
    face = found["affectnet-b/8"][1]
    assert (face.label, face.valence, face.arousal) == (EMOTIONS.index("angry"), -0.75, 0.25)
    np.testing.assert_allclose(face.alignment, (0.5, 0, 0, 0, 0.5, 0), atol=0.01)
    assert reasons(description, "excluded") == {"none": 1, "no-face": 1, "uncertain": 1}
    assert reasons(description) == {
        "unknown_label": 1, "out_of_range": 1, "not_a_number": 1, "no_such_file": 1, "broken_annotation": 1,
    }  # fmt: skip


def test_affectnet_2021_reads_its_arrays(tmp_path):
    rows = [("train_set", 0, 0, 0.0, 0.0), ("train_set", 17, 3, 0.5, 0.75), ("val_set", 2, 5, -0.5, 0.5)]
    source = layouts.affectnet_2021(tmp_path / "in", rows)
    (source / "train_set" / "annotations" / "0_exp.npy").write_bytes(b"not an array")
    description, found = converted("affectnet", source, tmp_path / "out")
    assert sorted(found) == ["affectnet-train_set/images/17", "affectnet-val_set/images/2"]
    split, face = found["affectnet-val_set/images/2"]
    assert (split, face.label, face.valence) == ("validation", EMOTIONS.index("disgusted"), -0.5)
    assert face.image == (source / "val_set" / "images" / "2.jpg").read_bytes()
    assert reasons(description) == {"broken_annotation": 1}


def test_a_folder_of_classes_takes_its_labels_from_the_folders_names(tmp_path):
    for number, inside in enumerate(("happiness", "angry", "holiday")):
        layouts.save_jpeg(tmp_path / "in" / inside / "1.jpg", layouts.drawn(3)[0][number])
    _, found = converted("folder", tmp_path / "in", tmp_path / "out")
    assert {name: face.label for name, (_, face) in found.items()} == {
        "happiness/1.jpg": 1, "angry/1.jpg": EMOTIONS.index("angry"), "holiday/1.jpg": None,
    }  # fmt: skip


def test_a_folders_table_gives_all_that_is_known_and_bad_rows_are_rejected_alone(tmp_path):
    source = layouts.label_maps(tmp_path / "in", 6)
    (source / "labels.csv").write_text(
        "filename,label,AU12_r,AU25,valence,arousal,mask,subject,split,id\n"
        "images/face0.jpg,happy,2.5,,0.5,0.25,masks/face0.png,ann,test,first\n"
        "images/face1.jpg,3,0.5,1,,,,ben,,\n"
        "images/face2.jpg,hungry,,,,,,,,\n"
        "images/face3.jpg,,6,,,,,,,\n"
        "images/face4.jpg,,nan,,,,,,,\n"
        "images/face5.jpg,,,,,,masks/gone.png,,,\n"
        "../out.jpg,,,,,,,,,\n"
        "images/face1.jpg,,,,,,,,,\n"
        "images/gone.jpg,,,,,,,,,\n"
    )
    description, found = converted("folder", source, tmp_path / "out")
    assert sorted(found) == ["first", "images/face1.jpg"]
    split, face = found["first"]
    assert (split, face.subject_id, face.label, face.aus, face.valence, face.arousal) == (
        "test",
        "ann",
        1,
        {"AU12": 2.5},
        0.5,
        0.25,
    )
    np.testing.assert_array_equal(layouts.decoded(face.mask), layouts.drawn(6)[1][0])
    assert found["images/face1.jpg"][1].aus == {"AU12": 0.5, "AU25": 1.0}
    assert reasons(description) == {
        "unknown_label": 1, "action_unit_out_of_range": 1, "not_a_number": 1, "missing_mask": 1, "unknown_file_name": 1,
        "duplicate_id": 1, "no_such_file": 1,
    }  # fmt: skip


def test_links_are_followed_and_loops_are_rejected(tmp_path):
    source = tmp_path / "in"
    layouts.save_jpeg(source / "happy" / "1.jpg", layouts.drawn(1)[0][0])
    layouts.save_jpeg(tmp_path / "elsewhere" / "2.jpg", layouts.drawn(1)[0][0])
    (source / "sad").symlink_to(tmp_path / "elsewhere")
    (source / "happy" / "again").symlink_to(source)
    (source / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    description, found = converted("folder", source, tmp_path / "out")
    assert sorted(found) == ["happy/1.jpg", "sad/2.jpg"]
    assert reasons(description) == {"symlink_loop": 1, "unreadable_file": 1}


def test_path_names_in_any_encoding_are_kept_readable(tmp_path):
    source = tmp_path / "in"
    path = layouts.save_jpeg(source / "plain.jpg", layouts.drawn(1)[0][0])
    os.rename(path, os.fsencode(source) + b"/caf\xe9.jpg")
    layouts.save_jpeg(source / 'été, "x"\n.jpg', layouts.drawn(1)[0][0])
    (source / "été.png").write_bytes(b"")
    open(os.fsencode(source) + b"/\xff.png", "wb").close()
    _, found = converted("folder", source, tmp_path / "out")
    assert sorted(found) == ["caf\\xe9.jpg", 'été, "x"\n.jpg']
    text = (tmp_path / "out" / "rejected.csv").read_text()
    assert "\\xff.png,empty_file" in text
    assert "été.png,empty_file" in text


@pytest.mark.parametrize("dataset", ["celebamask", "affectnet", "london", "rafd", "folder"])
def test_a_folder_of_another_layout_is_an_error_that_says_what_belongs_there(tmp_path, dataset):
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="`source` must hold"):
        converted(dataset, tmp_path / "in", tmp_path / "out")
    with pytest.raises(ValueError, match="must be the folder"):
        read_dataset(dataset, tmp_path / "gone", {})


def test_action_units_join_by_name_and_only_what_is_asked(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    aus = layouts.drawn(4)[2]
    table = layouts.write_aus(tmp_path / "aus.csv", [f"{i}.jpg" for i in range(4)], aus)
    description, found = converted(
        "celebamask", source, tmp_path / "out", actions=ActionTable(str(table), ("AU25", "AU12"))
    )
    for number in range(4):
        face = found[f"celebamask-{number}"][1]
        assert face.aus == pytest.approx(
            {unit: round(aus[number][AUS.index(unit)], 2) for unit in ("AU12", "AU25")}, abs=0.006
        )
    assert description["expression"]["labels"] == ["AU12", "AU25"]
    assert description["joins"] == {"action units: photos joined": 4, "action units: rows without a photo": 0}


def test_a_folder_reader_without_a_table_finds_every_image(tmp_path):
    layouts.save_jpeg(tmp_path / "b" / "2.jpg", layouts.drawn(1)[0][0])
    layouts.save_jpeg(tmp_path / "a" / "1.JPG", layouts.drawn(1)[0][0])
    (tmp_path / "notes.txt").write_text("no image")
    assert [entry.name for entry in read_folder(tmp_path)] == ["a/1.JPG", "b/2.jpg"]


def test_celebamask_splits_follow_celebas_boundaries(tmp_path):
    """The mapping counts from 0, CelebA's files from 1: 1..162770 train, 162771..182637 validation, 182638..202599 test."""
    counts = {"train": 24_183, "validation": 2_993, "test": 2_824}
    first = {"train": (1, 162_770), "validation": (162_771, 182_637), "test": (182_638, 202_599)}
    rows, partition, told = ["idx orig_idx orig_file"], [], {}
    for split, (low, high) in first.items():
        for file in np.linspace(low, high, counts[split]).astype(int):
            told[str(len(rows) - 1)] = split
            rows.append(f"{len(rows) - 1} {file - 1} {file:06d}.jpg")
            partition.append(f"{file:06d}.jpg {list(first).index(split)}")
    (tmp_path / celebamask.MAPPING).write_text("\n".join(rows))
    (tmp_path / celebamask.PARTITION).write_text("\n".join(partition))
    assert celebamask._splits(tmp_path) == told
    (tmp_path / celebamask.PARTITION).unlink()
    found = celebamask._splits(tmp_path)
    moved = [rows[int(number) + 1].split()[2] for number, split in told.items() if found[number] != split]
    assert moved == ["162771.jpg", "182638.jpg"], "g_partition.py's limits lie one file beyond CelebA's"


def test_a_link_to_itself_a_pipe_and_a_device_cost_their_neighbours_nothing(tmp_path):
    source = tmp_path / "in"
    layouts.save_jpeg(source / "good.jpg", layouts.drawn(1)[0][0])
    (source / "itself.jpg").symlink_to("itself.jpg")
    (source / "zeros.jpg").symlink_to("/dev/zero")
    (source / "folder.jpg").mkdir()
    os.mkfifo(source / "pipe.jpg")
    description, found = converted("folder", source, tmp_path / "out")
    assert sorted(found) == ["good.jpg"]
    assert reasons(description) == {"unreadable_file": 3}


@pytest.fixture
def deep(tmp_path):
    """Folders in folders, 1,200 deep, with a photo in the innermost and one beside the first."""
    layouts.save_jpeg(tmp_path / "in" / "z.jpg", layouts.drawn(1)[0][0])
    folders = [os.fspath(tmp_path / "in" / "f")]
    folders += [folders[0] + "/f" * more for more in range(1, 1_200)]
    for folder in folders:
        os.mkdir(folder)
    shutil.copyfile(tmp_path / "in" / "z.jpg", folders[-1] + "/a.jpg")
    yield tmp_path / "in"
    os.remove(folders[-1] + "/a.jpg")
    for folder in reversed(folders):  # shutil.rmtree gives up at such a depth
        os.rmdir(folder)


def test_folders_deeper_than_the_recursion_limit_are_walked(deep, tmp_path):
    assert sys.getrecursionlimit() < 1_200
    description, found = converted("folder", deep, tmp_path / "out")
    assert list(image_files(deep)) == ["f/" * 1_200 + "a.jpg", "z.jpg"]
    assert sorted(found) == ["f/" * 1_200 + "a.jpg", "z.jpg"]
    assert description["rejected"] == []
