"""What a conversion must not do without a word: wrong values, and photos left out."""

import csv
import io
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf.data.folder import read_dataset_json
from seghgan_tf.expressions import AUS, EMOTIONS
from tests import photo_files
from tests.data_tools import layouts
from tests.data_tools.test_convert import contents
from tests.data_tools.test_readers import converted, reasons, records
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.cli import app
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing
from tfrecords_tools.inspect import overview
from tfrecords_tools.merge import merge
from tfrecords_tools.rejects import sum_of
from tfrecords_tools.validate import validate


def command(*words):
    return CliRunner().invoke(app, ["convert", *map(str, words), "--workers", "1"], env={"COLUMNS": "400"})


def photo(path, number=0, **options):
    return layouts.save_jpeg(path, layouts.drawn(12)[0][number], **options)


def sequence(path, rows, header="frame, face_id, timestamp, confidence, success, AU12_r"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(f"{number}, 0, 0, 0.9, 1, {value}" for number, value in rows)]) + "\n")
    return path


# 1. frames


def test_frames_are_counted_over_the_files_that_openface_takes(tmp_path):
    for number, name in enumerate(("a1.webp", "b1.JPG", "c1.jpg", "d1.jpg", "e1.jpg")):
        photo(tmp_path / "clip" / name, number)
    Image.fromarray(layouts.drawn(12)[0][0]).save(tmp_path / "clip" / "a1.webp")
    table = sequence(tmp_path / "of" / "clip.csv", [(1, 1.0), (2, 2.0), (3, 3.0)])
    _, found = converted("folder", tmp_path / "clip", tmp_path / "out", actions=ActionTable(str(table)))
    known = {name: face.aus and face.aus["AU12"] for name, (_, face) in found.items()}
    assert known == {"a1.webp": None, "b1.JPG": None, "c1.jpg": 1.0, "d1.jpg": 2.0, "e1.jpg": 3.0}


@pytest.mark.parametrize("last", [1, 2, 4])
def test_a_highest_frame_that_is_not_the_count_is_an_error(tmp_path, last):
    for number in range(3):
        photo(tmp_path / "clip" / f"{number}.jpg", number)
    table = sequence(tmp_path / "of" / "clip.csv", [(number, 1.0) for number in range(1, last + 1)])
    with pytest.raises(ValueError, match=rf"clip\.csv with frames up to {last} for 3 such files"):
        converted("folder", tmp_path / "clip", tmp_path / "out", actions=ActionTable(str(table)))


def test_a_table_a_photo_with_a_frame_column_joins_by_file_name(tmp_path):
    for number in range(3):
        photo(tmp_path / "in" / f"p{number}.jpg", number)
        sequence(tmp_path / "of" / f"p{number}.csv", [(1, number)])
    _, found = converted("folder", tmp_path / "in", tmp_path / "out", actions=ActionTable(str(tmp_path / "of")))
    assert {name: face.aus["AU12"] for name, (_, face) in found.items()} == {"p0.jpg": 0, "p1.jpg": 1, "p2.jpg": 2}


# 2. turned photos


def turned(source, number=0):
    """A photo stored upside down that its EXIF tag turns upright, beside a mask of the raster as it is stored."""
    images, masks, _ = layouts.drawn(12)
    exif = Image.Exif()
    exif[0x0112] = 3
    layouts.save_jpeg(source / "images" / f"face{number}.jpg", images[number][::-1, ::-1], exif=exif)
    layouts.save_png(source / "masks" / f"face{number}.png", masks[number][::-1, ::-1], palette=True)


def test_a_turned_photo_with_a_mask_is_rejected_until_it_is_said_what_the_mask_was_drawn_on(tmp_path):
    source = layouts.label_maps(tmp_path / "in", 12)
    turned(source)
    description, found = converted("celebamask", source, tmp_path / "out")
    assert reasons(description) == {"turned_by_exif": 1}
    assert "celebamask-face0" not in found
    _, found = converted("celebamask", source, tmp_path / "raw", drawn_on="raw")
    face = found["celebamask-face0"][1]
    np.testing.assert_array_equal(layouts.decoded(face.mask), layouts.drawn(12)[1][0])
    assert np.abs(layouts.decoded(face.image).astype(int) - layouts.drawn(12)[0][0]).mean() < 8
    assert validate(tmp_path / "raw") == []


def test_validate_finds_the_one_mask_that_does_not_lie_on_its_face(tmp_path):
    source = layouts.label_maps(tmp_path / "in", 12)
    turned(source, 7)
    converted("celebamask", source, tmp_path / "out", drawn_on="upright")
    (problem,) = validate(tmp_path / "out")
    assert "celebamask-face7: its mask's parts lie where faces have them in only" in problem


# 3. AffectNet


def affectnet(root, rows=()):
    source = layouts.affectnet_2017(root, [("training.csv", f"a/{n}.jpg", 1, 0.5, 0.5) for n in range(3)])
    with (source / "training.csv").open("a") as table:
        for number, (box, places) in enumerate(rows, 3):
            photo(source / "Manually_Annotated_Images" / "a" / f"{number}.jpg", number)
            table.write(f"a/{number}.jpg,{box},{';'.join(f'{x:.1f}' for x in places.ravel())},1,0.5,0.5\n")
    return source


def test_landmarks_and_boxes_outside_of_the_picture_are_rejected(tmp_path):
    places = layouts.landmarks_68(layouts.SIDE)
    rows = [
        ("1,1,60,60", places + 3000),
        ("900,900,60,60", places),
        ("1,1,8,8", places),
        ("0,0,64,64", places),
        ("1,1,-4,8", places),
    ]
    description, found = converted("affectnet", affectnet(tmp_path / "in", rows), tmp_path / "out", 32, "landmarks")
    assert sorted(found) == ["affectnet-a/0", "affectnet-a/1", "affectnet-a/2", "affectnet-a/6"]
    assert reasons(description) == {"out_of_range": 2, "broken_annotation": 2}


def test_lists_in_their_own_folder_and_without_a_header_are_read(tmp_path):
    plain = affectnet(tmp_path / "plain")
    (plain / "validation.csv").write_text((plain / "training.csv").read_text().replace("a/0", "a/3").split("\na/1")[0])
    photo(plain / "Manually_Annotated_Images" / "a" / "3.jpg", 5)
    expected = converted("affectnet", plain, tmp_path / "out", 32)[1]
    assert len(expected) == 4
    lists = plain / "Manually_Annotated_file_lists"
    lists.mkdir()
    (plain / "training.csv").rename(lists / "training.csv")
    (lists / "validation.csv").write_text((plain / "validation.csv").read_text().partition("\n")[2])
    (plain / "validation.csv").unlink()
    assert converted("affectnet", plain, tmp_path / "other", 32)[1] == expected
    (lists / "automatically_annotated.csv").touch()
    description, found = converted("affectnet", plain, tmp_path / "third", 32)
    assert found == expected
    assert description["joins"]["automatically_annotated.csv: not supported, left out"] == 1
    shutil.rmtree(lists)
    (plain / "automatically_annotated.csv").touch()
    with pytest.raises(ValueError, match=r"automatically_annotated\.csv is not supported"):
        converted("affectnet", plain, tmp_path / "fourth")


# 4. joins


def test_padded_numbers_keep_the_owners_split_and_label(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    for path in sorted((source / "CelebA-HQ-img").iterdir()):
        path.rename(path.with_name(f"{int(path.stem):05d}.jpg"))
    (source / "CelebAMask-HQ-attribute-anno.txt").write_text("3\nSmiling\n0.jpg 1\n1.jpg -1\n9.jpg 1\n")
    rows = ["idx orig_idx orig_file", "0 182638 182639.jpg", "1 5 000006.jpg", "2 162771 162772.jpg"]
    (source / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(rows))
    done = command("celebamask", source, tmp_path / "out", "--validation", "0", "--test", "0")
    assert done.exit_code == 0, done.output
    found = records(tmp_path / "out")
    assert [found[f"celebamask-{i}"][0] for i in range(4)] == ["test", "train", "validation", "train"]
    assert [found[f"celebamask-{i}"][1].label for i in range(3)] == [EMOTIONS.index("happy"), None, None]
    for words in ("label: photos without a row: 2", "label: rows without a photo: 1", "split: photos without a row: 1"):
        assert words in done.output


def test_a_join_that_finds_nothing_for_some_says_how_many(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    table = layouts.write_aus(tmp_path / "aus.csv", ["0.jpg", "1.jpg", "gone.jpg"], layouts.drawn(4)[2][:3])
    done = command("celebamask", source, tmp_path / "out", "--actions", table)
    assert "action units: photos joined: 2" in done.output
    assert "action units: photos without a row: 2" in done.output
    assert "action units: rows without a photo: 1" in done.output


# 5. people


def people_table(root, rows):
    for number, _ in enumerate(rows):
        photo(root / f"{number}.jpg", number)
    (root / "labels.csv").write_text(
        "\n".join(["filename,subject,split", *(f"{number}.jpg,{row}" for number, row in enumerate(rows))]) + "\n"
    )
    return root


def test_a_persons_photos_follow_the_one_whose_split_is_given(tmp_path):
    source = people_table(tmp_path / "in", ["ann,test", "ann,", "ben,", "ann,", "cy,validation", "cy,"])
    _, found = converted("folder", source, tmp_path / "out")
    assert [found[f"{i}.jpg"][0] for i in range(6)] == ["test", "test", "train", "test", "validation", "validation"]


def test_two_splits_for_one_person_are_an_error_at_conversion(tmp_path):
    source = people_table(tmp_path / "in", ["ann,test", "ann,train"])
    with pytest.raises(
        ValueError, match=r"one for all photos of a person\. Received: ann in test and, with 1\.jpg, in train"
    ):
        converted("folder", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# 6. twins, empty parts


def test_equal_pictures_in_two_splits_are_reported_and_counted(tmp_path):
    source = people_table(tmp_path / "in", ["a,train", "b,test", "c,train", "d,train"])
    shutil.copyfile(source / "0.jpg", source / "1.jpg")
    shutil.copyfile(source / "2.jpg", source / "3.jpg")
    converted("folder", source, tmp_path / "out")
    (problem,) = validate(tmp_path / "out")
    assert "the same picture is in several splits: 1.jpg in test and 0.jpg in train" in problem
    assert overview(tmp_path / "out").twins == 1


def test_empty_parts_and_faces_without_eyes_nose_or_mouth_are_counted_and_shown(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    parts = source / "CelebAMask-HQ-mask-anno" / "0"
    layouts.save_png(parts / "00001_nose.png", np.zeros((64, 64, 3), np.uint8))
    for part in ("mouth", "u_lip", "l_lip"):
        (parts / f"00002_{part}.png").unlink(missing_ok=True)
    done = command("celebamask", source, tmp_path / "out")
    for words in ("part masks that are there but empty: 1", "masks without nose: 1", "masks without mouth: 1"):
        assert words in done.output
        assert words in CliRunner().invoke(app, ["inspect", str(tmp_path / "out")]).output


# 7. profiles


def test_colours_of_another_profile_become_srgb(tmp_path):
    pixels = photo_files.SMOOTH
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "plain.png")
    Image.fromarray(pixels).save(tmp_path / "in" / "other.png", icc_profile=photo_files.wide_profile())
    _, found = converted("folder", tmp_path / "in", tmp_path / "out", jpeg_quality=0)
    np.testing.assert_array_equal(layouts.decoded(found["plain.png"][1].image), pixels)
    other = layouts.decoded(found["other.png"][1].image).astype(int)
    assert np.abs(other - pixels[..., ::-1]).max() <= 2


# 8. every file is accounted for


def kinds_of_files(root):
    """Pictures of many endings and none, and what is no picture, beside a data set's own."""
    data = io.BytesIO()
    Image.fromarray(layouts.drawn(12)[0][3]).save(data, "JPEG")
    for name in ("a.jfif", "b.jpe", "c.mpo", "without"):
        (root / name).write_bytes(data.getvalue())
    for name, kind in (("d.avif", "AVIF"), ("e.jp2", "JPEG2000"), ("f.tiff", "TIFF")):
        Image.fromarray(layouts.drawn(12)[0][4]).save(root / name, kind)
    (root / "g.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (root / "broken.jpg").write_bytes(b"\xff\xd8 torn")
    (root / "readme.txt").write_text("hello")
    (root / "nothing").touch()


def trees(tmp_path):
    rows = [("training.csv", "a/1.jpg", 0, 0.1, -0.2), ("training.csv", "a/2.jpg", 8, -2, -2)]
    labels = people_table(tmp_path / "table", ["a,", "b,", "c,"])
    with (labels / "labels.csv").open("a") as table:
        table.write("gone.jpg,d,\n0.jpg,a,\n")
    (tmp_path / "tree").mkdir()
    kinds_of_files(labels)
    rafd = layouts.rafd(tmp_path / "rafd")
    london = layouts.london(tmp_path / "london", 2)
    (london / "neutral_left").mkdir()
    photo(london / "neutral_left" / "001_01.jpg")
    return {
        "celebamask": (layouts.celebamask(tmp_path / "celeba"), {}),
        "label maps": (layouts.label_maps(tmp_path / "maps"), {}),
        "affectnet": (layouts.affectnet_2017(tmp_path / "affect", rows), {}),
        "affectnet 2021": (layouts.affectnet_2021(tmp_path / "affect21", [("train_set", 5, 1, 0.5, 0.5)]), {}),
        "rafd": (rafd, {"camera": [90]}),
        "london": (london, {}),
        "folder": (tmp_path / "tree", {}),
        "folder with a table": (labels, {}),
    }


@pytest.mark.parametrize(
    "what",
    ["celebamask", "label maps", "affectnet", "affectnet 2021", "rafd", "london", "folder", "folder with a table"],
)
def test_files_are_records_and_rejected_and_ignored_by_a_rule(tmp_path, what):
    source, options = trees(tmp_path)[what]
    if what != "folder with a table":
        kinds_of_files(source)
    dataset = {"label maps": "celebamask"}.get(what, what.split()[0])
    description, found = converted(dataset, source, tmp_path / "out", options=options)
    files = sum(len(names) for _, _, names in os.walk(source))
    left_out = [sum(reasons(description, key).values()) for key in ("rejected", "excluded")]
    assert description["files"] == files
    assert files + description["rows"] == len(found) + sum(left_out) + sum(description["ignored"].values())
    assert description["ignored"]["no picture: .txt"] == 1
    assert description["ignored"]["no picture: without an ending"] == 1
    if what == "folder":
        assert sorted(found) == ["a.jfif", "b.jpe", "c.mpo", "d.avif", "e.jp2", "f.tiff", "without"]
        assert reasons(description) == {"not_an_image": 2}
    if what == "london":
        assert description["ignored"]["pictures in neutral_left that the data set's layout or table does not name"] == 1
    if what == "folder with a table":
        assert description["rows"] == 2
        assert reasons(description) == {"no_such_file": 1, "duplicate_id": 1}


def test_the_sum_is_printed(tmp_path):
    source, _ = trees(tmp_path)["folder with a table"]
    done = command("folder", source, tmp_path / "out")
    assert (
        "15 files and 2 rows without one of their own = 3 photos converted + 2 rejected + 0 excluded + 12 ignored"
        in done.output
    )


@pytest.mark.parametrize("table", [False, True])
def test_raw_files_of_cameras_are_named_and_not_taken_for_their_thumbnails(tmp_path, table):
    photo(tmp_path / "in" / "good.jpg")
    thumbnail = io.BytesIO()
    Image.fromarray(layouts.drawn(12)[0][1]).save(thumbnail, "TIFF")
    names = ["a.nef", "b.DNG", "c.cr2", "d.raf"]
    for name in names:
        (tmp_path / "in" / name).write_bytes(b"FUJIFILMCCD-RAW " if name == "d.raf" else thumbnail.getvalue())
    if table:
        (tmp_path / "in" / "labels.csv").write_text("\n".join(["filename", "good.jpg", *names]) + "\n")
    description, found = converted("folder", tmp_path / "in", tmp_path / "out")
    assert (list(found), reasons(description)) == (["good.jpg"], {"unsupported_raw_file": 4})
    rows = list(csv.reader((tmp_path / "out" / "rejected.csv").read_text().splitlines()))
    assert sorted(row[0] for row in rows[1:]) == names


# 9. nothing kept


def test_a_conversion_that_keeps_nothing_fails_with_reasons_and_leaves_no_trace(tmp_path):
    source = layouts.label_maps(tmp_path / "in")
    for path in (source / "images").iterdir():
        layouts.save_jpeg(path, np.zeros((48, 48, 3), np.uint8))
    done = command("celebamask", source, tmp_path / "out")
    assert done.exit_code == 1
    message = str(done.exception)
    assert "0 kept, 4 wrong_mask_size (face" in message
    assert "the mask is 64 x 64, the photo 48 x 48" in message
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert command("celebamask", source, tmp_path / "out").exit_code == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_action_units_that_are_all_out_of_range_fail_too(tmp_path):
    source = layouts.celebamask(tmp_path / "in")
    table = layouts.write_aus(tmp_path / "aus.csv", [f"{n}.jpg" for n in range(4)], layouts.drawn(4)[2] + 6)
    done = command("celebamask", source, tmp_path / "out", "--actions", table)
    assert done.exit_code == 1
    assert "0 kept, 4 action_unit_out_of_range (0.jpg: AU01 is" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_less_than_a_tenth_is_too_few_unless_it_is_said_otherwise(tmp_path):
    for number in range(11):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.jpg").write_bytes(b"torn")
    photo(tmp_path / "in" / "good.jpg")
    done = command("folder", tmp_path / "in", tmp_path / "out")
    assert done.exit_code == 1
    assert "1 kept, 11 not_an_image" in str(done.exception)
    assert not (tmp_path / "out").exists()
    done = command(
        "folder", tmp_path / "in", tmp_path / "out", "--min-kept", "0.05", "--validation", "0", "--test", "0"
    )
    assert (done.exit_code, list(records(tmp_path / "out"))) == (0, ["good.jpg"])


@pytest.mark.parametrize("times", [2, 4])
def test_masks_larger_than_their_photo_are_made_smaller_with_a_word(tmp_path, times):
    source = layouts.label_maps(tmp_path / "in")
    for number in range(4):
        large = layouts.drawn(4)[1][number].repeat(times, 0).repeat(times, 1)
        layouts.save_png(source / "masks" / f"face{number}.png", large)
    description, found = converted("celebamask", source, tmp_path / "out")
    for number in range(4):
        mask = layouts.decoded(found[f"celebamask-face{number}"][1].mask)
        np.testing.assert_array_equal(mask, layouts.drawn(4)[1][number])
    assert description["notes"]["masks larger than their photo, made smaller"] == 4


# 10. names and tables of other forms


def in_other_forms(name):
    return [
        unicodedata.normalize("NFD", name), name.replace("/", "\\"), name.upper(), f"./{name}", f".\\{name}", name.replace("/", "//"),
    ]  # fmt: skip


@pytest.mark.parametrize("form", range(6))
def test_names_that_differ_in_form_join(tmp_path, form):
    name = unicodedata.normalize("NFC", "été/photo.jpg")
    photo(tmp_path / "in" / name)
    said = in_other_forms(name)[form]
    (tmp_path / "labels.csv").write_text(f"filename,label\n{said},happy\n")
    _, found = converted("folder", tmp_path / "in", tmp_path / "out", options={"table": tmp_path / "labels.csv"})
    assert {name: face.label for name, (_, face) in found.items()} == {name: EMOTIONS.index("happy")}
    table = layouts.write_aus(tmp_path / "aus.csv", [said], layouts.drawn(12)[2][:1], ("AU12",))
    _, found = converted("folder", tmp_path / "in", tmp_path / "units", actions=ActionTable(str(table)))
    assert found[name][1].aus["AU12"] == pytest.approx(layouts.drawn(12)[2][0, AUS.index("AU12")], abs=0.006)


def test_names_that_fit_two_files_by_form_join_neither(tmp_path):
    for number, name in enumerate(("a.jpg", "A.jpg", "b.jpg")):
        photo(tmp_path / "in" / name, number)
    (tmp_path / "in" / "labels.csv").write_text("filename\na.JPG\na.jpg\n")
    description, found = converted("folder", tmp_path / "in", tmp_path / "out")
    assert list(found) == ["a.jpg"]
    assert reasons(description) == {"no_such_file": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_other_encodings_and_delimiters_are_read(tmp_path, encoding, delimiter):
    photo(tmp_path / "in" / "été.jpg")
    lines = [("filename", "label", "AU12_r", "mask"), ("été.jpg", "happy", "2.5", "")]
    text = "\r\n".join(map(delimiter.join, lines)) + "\r\n"
    data = text.encode("utf-16-le" if "le" in encoding else "utf-16-be" if "be" in encoding else encoding)
    bom = {"utf-16-le-bom": b"\xff\xfe", "utf-16-be-bom": b"\xfe\xff"}.get(encoding, b"")
    (tmp_path / "in" / "labels.csv").write_bytes(bom + data)
    _, found = converted("folder", tmp_path / "in", tmp_path / "out")
    face = found["été.jpg"][1]
    assert (face.label, face.aus) == (EMOTIONS.index("happy"), {"AU12": 2.5})


def test_class_folders_beside_a_table_of_other_columns_convert(tmp_path):
    for number, inside in enumerate(("Anger", "Contempt", "Surprise")):
        photo(tmp_path / "in" / inside / f"image{number:07d}.jpg", number)
    (tmp_path / "in" / "labels.csv").write_text(
        ",pth,label,relFCs\n0,anger/image0000000.jpg,surprise,0.87\n1,contempt/image0000001.jpg,contempt,0.85\n"
    )
    with pytest.raises(ValueError, match=r"--column filename=.*--table none.*Received: , pth, label, relFCs"):
        converted("folder", tmp_path / "in", tmp_path / "out")
    done = command("folder", tmp_path / "in", tmp_path / "tree", "--table", "none")
    assert done.exit_code == 0, done.output
    labels = {name: face.label for name, (_, face) in records(tmp_path / "tree").items()}
    assert list(map(labels.get, sorted(labels))) == [
        EMOTIONS.index(name) for name in ("angry", "contemptuous", "surprised")
    ]
    done = command("folder", tmp_path / "in", tmp_path / "table", "--column", "filename=pth")
    assert done.exit_code == 0, done.output
    labels = {name: face.label for name, (_, face) in records(tmp_path / "table").items()}
    assert list(map(labels.get, sorted(labels))) == [EMOTIONS.index(name) for name in ("surprised", "contemptuous")]


# 11. companions and units


def test_a_missing_companion_file_is_named(tmp_path):
    source = layouts.affectnet_2021(tmp_path / "in", [("train_set", n, 1, 0.5, 0.5) for n in range(4)])
    (source / "train_set" / "annotations" / "3_val.npy").unlink()
    converted("affectnet", source, tmp_path / "out")
    rows = list(csv.reader((tmp_path / "out" / "rejected.csv").read_text().splitlines()))
    assert rows[1:] == [["train_set/images/3.jpg", "broken_annotation", "there is no 3_val.npy"]]


def test_photos_without_landmarks_are_counted(tmp_path):
    source = layouts.affectnet_2021(tmp_path / "in", [("train_set", n, 1, 0.5, 0.5) for n in range(4)])
    (source / "train_set" / "annotations" / "3_lnd.npy").unlink()
    done = command("affectnet", source, tmp_path / "out")
    assert "landmarks: photos without them: 1" in done.output
    source = layouts.london(tmp_path / "london", 2)
    (source / "smiling_front" / "001_08.tem").unlink()
    description, _ = converted("london", source, tmp_path / "people")
    assert description["joins"] == {"landmarks: photos without them": 1}


@pytest.mark.parametrize("cells", [("1.0, ", ", 2.0"), ("1.0, ", "2.0, ")])
def test_a_subset_of_units_that_no_row_has_is_an_error(tmp_path, cells):
    source = layouts.celebamask(tmp_path / "in", 2)
    rows = [f"{number}.jpg, 0.9, 1, {cell}" for number, cell in enumerate(cells)]
    (tmp_path / "aus.csv").write_text("\n".join(["filename, confidence, success, AU12_r, AU25_r", *rows]))
    table = ActionTable(str(tmp_path / "aus.csv"), ("AU12", "AU25"))
    with pytest.raises(ValueError, match=r"Received: AU12, AU25, of which each row lacks one"):
        converted("celebamask", source, tmp_path / "out", actions=table)


# 12. equal files anywhere


def test_equal_inputs_give_equal_files_anywhere(tmp_path):
    written = []
    for place in ("here", "there/deeper"):
        source = people_table(tmp_path / place / "photos", ["a,", "b,", "c,"])
        (source / "labels.csv").rename(tmp_path / place / "labels.csv")
        table = layouts.write_aus(tmp_path / place / "aus.csv", [f"{n}.jpg" for n in range(3)], layouts.drawn(4)[2][:3])
        how = Conversion(
            "folder", str(source), Picturing(48), {"table": tmp_path / place / "labels.csv"}, ActionTable(str(table))
        )
        convert(how, tmp_path / place / "out")
        written.append(contents(tmp_path / place / "out"))
    assert written[0] == written[1]
    assert str(tmp_path).encode() not in b"".join(written[0].values())


def test_a_folder_converted_from_other_files_is_not_taken_for_finished(tmp_path):
    source = people_table(tmp_path / "in", ["a,", "b,", "c,"])
    before = converted("folder", source, tmp_path / "out")[0]
    assert converted("folder", source, tmp_path / "out")[0] == before
    (source / "labels.csv").write_text((source / "labels.csv").read_text().replace("c,", "c,train"))
    with pytest.raises(ValueError, match="from the same files"):
        converted("folder", source, tmp_path / "out")


# 14. several machines


def test_shares_of_several_machines_merge_to_what_one_writes(tmp_path):
    source = layouts.london(tmp_path / "in", 8)
    (source / "neutral_front" / "003_03.jpg").write_bytes(b"")
    (source / "neutral_front" / "003_03.tem").unlink()
    common = ("london", source)
    how = ("--size", "32", "--shard-size", "3", "--test", "4")
    assert command(*common, tmp_path / "whole", *how).exit_code == 0
    parts = [tmp_path / f"part{n}" for n in range(3)]
    for number, part in enumerate(parts):
        done = command(*common, part, *how, "--shard", f"{number}/3")
        assert done.exit_code == 0, done.output
        assert validate(part) == []
    merged = merge(parts, tmp_path / "merged")
    whole, joined = contents(tmp_path / "whole"), contents(tmp_path / "merged")
    shards = {name: data for name, data in whole.items() if name.endswith(".tfrecord")}
    assert {name: data for name, data in joined.items() if name.endswith(".tfrecord")} == shards
    assert len(shards) == 7
    assert sorted(joined["rejected.csv"].splitlines()) == sorted(whole["rejected.csv"].splitlines())
    for key in ("examples", "rejected", "files", "rows", "ignored", "labels", "class_pixels", "splits"):
        assert merged[key] == read_dataset_json(tmp_path / "whole")[key], key
    for wrong in ("3/3", "0", "a/b"):
        assert command(*common, tmp_path / "wrong", *how, "--shard", wrong).exit_code != 0


def shares_of(source, root, *more):
    """Convert a folder's four shares, a photo a shard; returns how each command ended."""
    return [
        command("folder", source, root / f"part{n}", "--size", "32", "--shard-size", "1", "--shard", f"{n}/4", *more)
        for n in range(4)
    ]


def listed(source, photos, gone):
    """A table of so many photos, and of so many that are not there."""
    for number in range(photos):
        photo(source / f"{number}.jpg", number)
    names = [*(f"{number}.jpg" for number in range(photos)), *(f"gone{number}.jpg" for number in range(gone))]
    (source / "labels.csv").write_text("\n".join(["filename", *names]) + "\n")
    return source


def test_a_share_weighs_what_the_table_rejects_against_all_photos(tmp_path):
    source = listed(tmp_path / "in", 4, 20)
    assert command("folder", source, tmp_path / "whole", "--size", "32", "--shard-size", "1").exit_code == 0
    done = shares_of(source, tmp_path)
    assert [each.exit_code for each in done] == [0] * 4, done[0].output
    assert (
        "of 5 files and 20 rows without one of their own this folder alone tells of 1 photos converted"
        in done[0].output
    )
    merged = merge([tmp_path / f"part{n}" for n in range(4)], tmp_path / "merged")
    assert (merged["photos"], reasons(merged)) == (4, {"no_such_file": 20})
    assert str(sum_of(merged)) == str(sum_of(read_dataset_json(tmp_path / "whole")))
    assert sum_of(merged).holds


def test_every_share_of_too_few_photos_is_refused_as_the_whole_is(tmp_path):
    source = listed(tmp_path / "in", 4, 40)
    assert command("folder", source, tmp_path / "whole", "--size", "32").exit_code == 1
    done = shares_of(source, tmp_path)
    assert [each.exit_code for each in done] == [1] * 4
    assert all("1 kept, 40 no_such_file" in str(each.exception) for each in done)


def test_a_share_whose_only_photo_is_torn_converts_where_that_is_allowed(tmp_path):
    source = listed(tmp_path / "in", 4, 0)
    (source / "2.jpg").write_bytes(b"torn")
    assert sorted(each.exit_code for each in shares_of(source, tmp_path)) == [0, 0, 0, 1]
    assert [each.exit_code for each in shares_of(source, tmp_path, "--min-kept", "0")] == [0] * 4
    merged = merge([tmp_path / f"part{n}" for n in range(4)], tmp_path / "merged")
    assert str(sum_of(merged)) == "5 files = 3 photos converted + 1 rejected + 0 excluded + 1 ignored"
