"""Pairs by person: landmarks moved by muscles, smooth warps, lids, teeth, masks of contours, and folders of true pairs."""

import csv
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf.data.folder import read_dataset_json, read_split
from seghgan_tf.data.stream import Batching, load_expression_stream
from seghgan_tf.expressions import AUS, expression_space
from seghgan_tf.regions import CLASSES
from tests.data_tools.test_readers import reasons
from tfrecords_tools import portraits
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.cli import app
from tfrecords_tools.contours import contour_mask
from tfrecords_tools.lessons import REST, SMILE, TAUGHT, lessons
from tfrecords_tools.muscles import contract, eye_distance, lid_shifts
from tfrecords_tools.pairs import convert_pairs, split_people, units_of
from tfrecords_tools.photo import Photo
from tfrecords_tools.rejects import sum_of
from tfrecords_tools.sitters import find_sitters, sittings, without_sitter
from tfrecords_tools.taught import carry_points, identity_flow, lids, show, spline_flow, teach_flow
from tfrecords_tools.teeth import Teeth, fill_mouth
from tfrecords_tools.validate import validate

SIZE = 128


@pytest.fixture(scope="module")
def points():
    """Landmarks of a made-up face of SIZE pixels, in WebMorph's order."""
    places = np.zeros((189, 2))
    turn = np.linspace(0, 2 * np.pi, 9)[:8]
    for eye, (x, iris, upper, lower, crease) in enumerate(((48, 2, 18, 28, 34), (80, 10, 23, 31, 39))):
        places[eye] = x, 60
        places[iris : iris + 8] = np.stack([x + 2 * np.cos(turn), 60 + 2 * np.sin(turn)], -1)
        places[upper : upper + 5] = [(x - 7, 60), (x - 4, 57.5), (x, 57), (x + 4, 57.5), (x + 7, 60)]
        places[lower : lower + 3] = [(x - 4, 62), (x, 62.5), (x + 4, 62)]
        places[crease : crease + 5] = [(x - 7, 57), (x - 4, 54.5), (x, 54), (x + 4, 54.5), (x + 7, 57)]
    places[44:50] = [(40, 68), (46, 70), (54, 67), (74, 67), (82, 70), (88, 68)]
    places[50:61] = [
        (60, 60),
        (60, 65),
        (60, 70),
        (59, 75),
        (58, 79),
        (64, 84),
        (68, 60),
        (68, 65),
        (68, 70),
        (69, 75),
        (70, 79),
    ]
    places[61:71] = [(56, 76), (54, 79), (54, 82), (57, 84), (59, 82), (72, 76), (74, 79), (74, 82), (71, 84), (69, 82)]
    places[71:77] = [(38, 50), (41, 46), (45, 44), (50, 45), (54, 46), (57, 48)]
    places[77:83] = [(71, 48), (74, 46), (78, 45), (83, 44), (87, 46), (90, 50)]
    places[83:87] = [(44, 48), (50, 48), (78, 48), (84, 48)]
    places[87:94] = [(52, 96), (57, 93), (61, 92), (64, 93), (67, 92), (71, 93), (76, 96)]
    places[94:99] = places[99:104] = [(56, 95.8), (60, 96), (64, 96), (68, 96), (72, 95.8)]
    places[104:109] = [(56, 99), (60, 101), (64, 102), (68, 101), (72, 99)]
    ear = np.linspace(0, 1, 5)[:, None]
    places[109:112] = [(30, 62), (30.5, 70), (32, 80)]
    places[112:115] = [(98, 62), (97.5, 70), (96, 80)]
    places[115:120] = (27, 60) + ear * (4, 20)
    places[120:125] = (101, 60) + ear * (-4, 20)
    chin = np.linspace(np.pi, 0, 9)
    places[125:134] = np.stack([64 + 31 * np.cos(chin), 86 + 28 * np.sin(chin)], -1)
    brow = np.linspace(np.pi, 2 * np.pi, 13)[1:-1]
    places[134:145] = np.stack([64 + 34 * np.cos(brow), 58 + 34 * np.sin(brow)], -1)
    hair = np.linspace(np.pi, 2 * np.pi, 13)
    places[145:158] = np.stack([64 + 42 * np.cos(hair), 64 + 52 * np.sin(hair)], -1)
    places[158:164] = [(50, 80), (48, 85), (46, 91), (78, 80), (80, 85), (82, 91)]
    places[164:170] = [(36, 70), (41, 74), (47, 74), (92, 70), (87, 74), (81, 74)]
    places[170:179] = [(62, 86), (61, 90), (66, 86), (67, 90), (64, 108), (64, 111), (58, 105), (64, 105), (70, 105)]
    places[179:185] = [(61, 83), (63, 84), (65, 84), (67, 83), (54, 122), (74, 122)]
    places[185:189] = [(30, 66), (31, 75), (98, 66), (97, 75)]
    return places


@pytest.fixture(scope="module")
def face(points):
    """A picture (S, S, 3) whose parts have the colours of skin, lips, brows and eyes, on a light backdrop."""
    colours = np.full((len(CLASSES), 3), (210, 212, 214), np.float64)
    for names, colour in (
        (("skin", "nose", "neck", "l_ear", "r_ear"), (205, 160, 140)), (("u_lip", "l_lip", "mouth"), (170, 80, 85)),
        (("l_brow", "r_brow", "hair"), (70, 50, 40)), (("l_eye", "r_eye"), (235, 235, 235)),
    ):  # fmt: skip
        colours[[CLASSES.index(name) for name in names]] = colour
    return colours[contour_mask(points, SIZE)]


def test_a_face_at_rest_stays_as_it_is(points, face):
    assert np.array_equal(contract(points, {"AU12": 0.0}), points)
    assert np.array_equal(teach_flow(points, SIZE, {}), identity_flow(SIZE, SIZE))
    assert np.array_equal(show(face, teach_flow(points, SIZE, {"AU01": 0.0})), face)


@pytest.mark.parametrize(
    ("unit", "index", "direction"),
    [
        ("AU01", 76, (0, -1)), ("AU02", 82, (0, -1)), ("AU04", 76, (0, 1)), ("AU09", 63, (0, -1)), ("AU10", 90, (0, -1)),
        ("AU15", 87, (0, 1)), ("AU17", 106, (0, -1)), ("AU20", 93, (1, 0)), ("AU20", 87, (-1, 0)), ("AU23", 106, (0, -1)),
        ("AU25", 101, (0, 1)), ("AU26", 129, (0, 1)),
    ],
)  # fmt: skip
def test_each_unit_moves_its_points_as_anatomy_says(points, unit, index, direction):
    shift = (contract(points, {unit: 5.0}) - points)[index]
    assert shift @ direction > 0.02 * eye_distance(points)
    assert np.allclose(2 * (contract(points, {unit: 2.0}) - points), contract(points, {unit: 4.0}) - points)


def test_the_turn_of_a_face_turns_its_movements(points):
    angle = 0.3
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    units = {"AU01": 3.0, "AU20": 4.0, "AU26": 5.0}
    assert np.allclose(contract(points @ turned.T, units), contract(points, units) @ turned.T)


def test_a_spline_takes_points_where_they_belong(points):
    new = contract(points, {"AU01": 5.0, "AU02": 5.0})
    flow = spline_flow(points, new, SIZE)
    for index in (71, 76, 82, 129):
        x, y = new[index].round().astype(int)
        assert np.allclose(flow[:, y, x][::-1] - (x, y), points[index] - new[index], atol=1.0)
    assert np.allclose(flow[:, 0, 0], 0, atol=0.5)


def test_shut_lids_hide_the_eye_and_nothing_else(points, face):
    shut = show(face, lids(points, SIZE, *lid_shifts({"AU45": 5.0})))
    changed = np.abs(shut - face).max(-1) > 1
    rows, columns = np.nonzero(changed)
    assert rows.min() > 45
    assert rows.max() < 68
    assert columns.min() > 38
    assert columns.max() < 90
    white = np.linalg.norm(shut - (235, 235, 235), axis=-1) < 20
    assert white.sum() < 0.25 * (np.linalg.norm(face - (235, 235, 235), axis=-1) < 20).sum()


def test_raised_lids_show_more_of_the_eye(points, face):
    def white(picture):
        return (np.linalg.norm(picture - (235, 235, 235), axis=-1) < 20).sum()

    assert white(show(face, lids(points, SIZE, *lid_shifts({"AU05": 5.0})))) > 1.1 * white(face)


def test_parted_lips_show_teeth_that_hang_above_a_dark_mouth(points, face):
    units = {"AU25": 5.0}
    new = contract(points, units)
    columns = np.abs(np.arange(SIZE) - 64) < 14
    ivory = Teeth(np.full((SIZE, SIZE, 3), 230.0), np.where(columns, 90, -1), np.where(columns, 97, -1), 64.0)
    filled = fill_mouth(show(face, teach_flow(points, SIZE, units)), points, new, ivory)
    top, bottom = new[96, 1], new[101, 1]
    assert filled[int(top) + 2, 64].min() > 130
    assert filled[int(bottom) - 1, 64].max() < 110
    outside = np.ones((SIZE, SIZE), bool)
    outside[88:110, 48:80] = False
    assert np.array_equal(filled[outside], show(face, teach_flow(points, SIZE, units))[outside])


def test_points_are_carried_to_a_picture_that_was_moved(points, face):
    generator = np.random.default_rng(1)
    grain = np.repeat(np.repeat(generator.normal(0, 12, (32, 32, 1)), 4, 0), 4, 1)
    textured = np.clip(face + grain, 0, 255).astype(np.uint8)
    moved = np.roll(textured, (2, 3), (0, 1))
    shift = carry_points(points, textured, moved) - points
    assert np.allclose(np.median(shift, axis=0), (3, 2), atol=0.3)


def test_lessons_teach_every_unit_from_both_sides():
    pairs = lessons(3)
    sources, targets = zip(*pairs, strict=True)
    assert {unit for look in targets for unit, _ in look.units} == set(TAUGHT)
    assert set(TAUGHT) == set(AUS) - {"AU12"}
    assert [pairs.count(pair) for pair in ((REST, SMILE), (SMILE, REST))] == [32, 24]
    assert [pairs.count((look, look)) for look in (REST, SMILE)] == [10, 10], "what shows already stays"
    assert any(source.units and target in (REST, SMILE) for source, target in pairs)
    assert {unit for source, target in pairs if source == SMILE for unit, _ in target.units} == set(TAUGHT)
    assert all(0 < value <= 5 for look in (*sources, *targets) for _, value in look.units)


def test_people_are_split_by_a_fixed_rule():
    splits = split_people(86)
    assert [splits.count(name) for name in ("train", "validation", "test")] == [64, 6, 16]
    assert all(splits[number] == "test" for number in range(4, 80, 5))


def test_teeth_are_lent_within_a_split_alone():
    def photo(person, mood):
        points = tuple(range(10)) if mood == 0 else None
        units = {"AU12": 3.0 * (mood == 1), "AU25": 1.0, "AU26": 0.0}
        return Photo(
            f"{person}-{mood}", f"{person}-{mood}.jpg", "", subject_id=person, label=mood, points=points, aus=units
        )

    sitters = find_sitters([photo(f"p{n:02d}", mood) for n in range(12) for mood in (0, 1)])
    assert sitters[0].smile_units == {"AU12": 3.0, "AU25": 0.0, "AU26": 0.0}
    splits = split_people(12)
    for work, split in zip(sittings(sitters, splits, 1, 64, 95), splits, strict=True):
        assert {splits[sitters.index(other)] for other in work.lenders} <= {split}
        assert work.sitter not in work.lenders


def test_teeth_are_looked_for_once_in_a_smile_and_never_behind_closed_lips(monkeypatch):
    looked, ivory = [], Teeth(np.zeros((4, 4, 3), np.uint8), np.zeros(4, int), np.ones(4, int), 2.0)

    def portraits_of(neutral, smiling, size):
        looked.append(smiling)
        return (None, portraits.Portrait(smiling, None, None, {}))

    monkeypatch.setattr(portraits, "_portraits", portraits_of)
    monkeypatch.setattr(portraits, "cut_teeth", lambda smile, points: ivory if smile == "bright" else None)
    closed, hidden, bright = (
        portraits.Sitter(name, f"{name} at rest", name, {"AU25": opening}, (name, name))
        for name, opening in (("closed", 0.0), ("hidden", 2.0), ("bright", 2.0))
    )
    assert portraits.lend_teeth(closed, (hidden, bright), 64) is ivory
    assert portraits.lend_teeth(hidden, (closed, bright), 64) is ivory
    assert looked == ["hidden", "bright"]
    assert portraits.lend_teeth(closed, (), 64) is None


def test_an_emotion_without_measured_units_stands_for_its_prototype():
    assert units_of(Photo("a", "a", "a", label=1))["AU12"] == 4.0
    assert units_of(Photo("a", "a", "a", label=0)) == dict.fromkeys(AUS, 0.0)
    assert units_of(Photo("a", "a", "a", label=1, aus={"AU12": 1.0})) == {"AU12": 1.0}
    assert units_of(Photo("a", "a", "a")) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"taught": True}, "`taught` needs"), ({"size": 65}, "`size` must be even"), ({}, "the same subject and view")],
)
def test_refusals_name_the_argument_and_the_mend(tmp_path, arguments, message):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (80, 80)).save(tmp_path / "photos" / "a.png")
    with pytest.raises(ValueError, match=message):
        convert_pairs("folder", tmp_path / "photos", tmp_path / "out", **arguments)


@pytest.fixture(scope="module")
def two_people(tmp_path_factory, faces_folder):
    """Two people of the real set, linked into a folder of their own."""
    folder = tmp_path_factory.mktemp("london")
    for inside, ending in (("neutral_front", "_03"), ("smiling_front", "_08")):
        (folder / inside).mkdir()
        for person in ("001", "002"):
            for path in (faces_folder / "london" / inside).glob(f"{person}{ending}.*"):
                (folder / inside / path.name).symlink_to(path)
    (folder / "aus.csv").symlink_to(faces_folder / "london" / "aus.csv")
    return folder


def test_real_people_become_sound_taught_pairs_that_a_stream_reads(two_people, tmp_path):
    table = ActionTable(str(two_people / "aus.csv"))
    description = convert_pairs("london", two_people, tmp_path / "taught", actions=table, taught=True, size=64)
    assert description["pairs"]
    assert [description["splits"][split]["examples"] for split in ("train", "validation")] == [len(lessons(1))] * 2
    assert validate(tmp_path / "taught") == []
    faces = list(read_split(tmp_path / "taught", read_dataset_json(tmp_path / "taught"), "validation"))
    for record in faces[:8]:
        assert Image.open(io.BytesIO(record.image)).size == Image.open(io.BytesIO(record.target_image)).size == (64, 64)
        assert set(record.aus) == set(record.target_aus) == set(AUS)
    space, how = expression_space("AU01,AU12,AU45"), Batching(image_size=64, batch_size=4)
    batch = next(iter(load_expression_stream(tmp_path / "taught", "validation", space, how)))
    assert batch["target_image"].shape == (4, 64, 64, 3)
    assert batch["target_expression"].shape == (4, 3)


def test_real_people_become_plain_pairs_both_ways(two_people, tmp_path):
    description = convert_pairs("london", two_people, tmp_path / "plain", size=64)
    faces = list(read_split(tmp_path / "plain", description, "validation"))
    assert sorted(face.image_id for face in faces) == [
        "london-002_03>london-002_08", "london-002_08>london-002_03",
    ]  # fmt: skip
    assert {face.target_aus["AU12"] for face in faces} == {0.0, 4.0}


def people(root, rows, faces_folder):
    """Photos of three real people, neutral and smiling, with a table of their names, expressions and what `rows` say of splits."""
    (root / "photos").mkdir(parents=True)
    lines = ["filename,subject,label,split"]
    for (person, label), split in rows.items():
        inside, ending = ("neutral_front", "03") if label == "neutral" else ("smiling_front", "08")
        (path,) = (faces_folder / "london" / inside).glob(f"{person}_{ending}.jpg")
        (root / "photos" / f"{person}-{label}.jpg").symlink_to(path)
        lines.append(f"{person}-{label}.jpg,{person},{label},{split}")
    (root / "photos" / "labels.csv").write_text("\n".join(lines) + "\n")
    return root / "photos"


def test_the_split_of_a_table_is_kept_for_whole_people(tmp_path, faces_folder):
    rows = {
        ("001", "neutral"): "test", ("001", "happy"): "", ("002", "neutral"): "validation", ("002", "happy"): "validation",
        ("003", "neutral"): "", ("003", "happy"): "",
    }  # fmt: skip
    description = convert_pairs("folder", people(tmp_path, rows, faces_folder), tmp_path / "out", size=64)
    who = {
        split: {face.subject_id for face in read_split(tmp_path / "out", description, split)}
        for split in ("train", "validation", "test")
    }
    assert who == {"train": {"003"}, "validation": {"002"}, "test": {"001"}}


def test_two_splits_for_one_person_are_refused(tmp_path, faces_folder):
    rows = {("001", "neutral"): "test", ("001", "happy"): "train"}
    with pytest.raises(
        ValueError, match=r"one for all photos of a person\. Received: 001 in test and, with .* in train"
    ):
        convert_pairs("folder", people(tmp_path, rows, faces_folder), tmp_path / "out", size=64)
    assert not (tmp_path / "out").exists()


def rejected(folder):
    with (folder / "rejected.csv").open(newline="") as stream:
        return {row[0]: row[1] for row in list(csv.reader(stream))[1:]}


def test_each_photo_in_no_pair_is_named_and_counted(tmp_path, faces_folder):
    rows = dict.fromkeys(
        [("001", "neutral"), ("001", "happy"), ("002", "neutral"), ("003", "happy"), ("004", "happy")], ""
    )
    source = people(tmp_path, rows, faces_folder)
    for name in ("002-again.jpg", "nobody.jpg", "unknown.jpg"):
        shutil.copyfile(source / "002-neutral.jpg", source / name)
    (source / "003-torn.jpg").write_bytes(b"torn")
    (source / "readme.txt").write_text("hello")
    with (source / "labels.csv").open("a") as table:
        table.write("002-again.jpg,002,neutral,\nnobody.jpg,,happy,\nunknown.jpg,005,,\n003-torn.jpg,003,neutral,\n")
        table.write("gone.jpg,006,happy,\n001-happy.jpg,001,happy,\n")
    command = ["pair", "folder", source, tmp_path / "out", "--size", "64", "--workers", "1"]
    done = CliRunner().invoke(app, [os.fspath(word) for word in command], env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    assert (
        "11 files and 2 rows without one of their own = 2 photos converted + 9 rejected + 0 excluded + 2 ignored"
        in done.output
    )
    assert rejected(tmp_path / "out") == {
        "002-neutral.jpg": "no_partner", "002-again.jpg": "no_partner", "003-happy.jpg": "no_partner", "004-happy.jpg": "no_partner",
        "nobody.jpg": "no_subject", "unknown.jpg": "no_expression", "003-torn.jpg": "not_an_image", "gone.jpg": "no_such_file",
        "001-happy.jpg": "duplicate_id",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"2 kept, 4 no_partner \(004-happy\.jpg: no other photo"):
        convert_pairs("folder", source, tmp_path / "few", size=64, min_kept=0.5)
    assert not (tmp_path / "few").exists()


def test_what_a_filter_excludes_and_a_join_lacks_is_told_of_pairs(tmp_path, faces_folder):
    names = [
        f"Rafd{camera}_01_Caucasian_female_{mood}_frontal.jpg"
        for camera in ("090", "045")
        for mood in ("neutral", "happy")
    ]
    (tmp_path / "in").mkdir()
    for name, (inside, ending) in zip(names, 2 * [("neutral_front", "03"), ("smiling_front", "08")], strict=True):
        (tmp_path / "in" / name).symlink_to(faces_folder / "london" / inside / f"001_{ending}.jpg")
    rows = [f"{name}, 0.9, 1, {number}" for number, name in enumerate([*names[:2], "gone.jpg"])]
    (tmp_path / "aus.csv").write_text("\n".join(["filename, confidence, success, AU12_r", *rows]))
    table, options = ActionTable(str(tmp_path / "aus.csv")), {"camera": [90]}
    description = convert_pairs("rafd", tmp_path / "in", tmp_path / "out", size=64, actions=table, options=options)
    assert reasons(description, "excluded") == {"camera 045": 2}
    assert str(sum_of(description)) == "4 files = 2 photos converted + 0 rejected + 2 excluded + 0 ignored"
    assert description["joins"]["action units: rows without a photo"] == 1
    assert not (tmp_path / "out" / "rejected.csv").exists()


def test_people_without_both_photos_are_named_when_they_are_taught(two_people, tmp_path, faces_folder):
    source = tmp_path / "london"
    shutil.copytree(two_people, source, symlinks=True)
    (source / "smiling_front" / "002_08.jpg").unlink()
    (source / "smiling_front" / "002_08.jpg").touch()
    (source / "smiling_front" / "003_08.jpg").symlink_to(faces_folder / "london" / "smiling_front" / "003_08.jpg")
    table = ActionTable(str(source / "aus.csv"))
    description = convert_pairs("london", source, tmp_path / "out", actions=table, taught=True, size=64)
    assert (description["examples"], description["photos"], sum_of(description).holds) == (len(lessons(1)), 2, True)
    assert rejected(tmp_path / "out") == {
        "smiling_front/003_08.jpg": "no_partner", "neutral_front/002_03.jpg": "empty_file", "smiling_front/002_08.jpg": "empty_file",
    }  # fmt: skip
    assert "002_08.jpg: 0 bytes" in (tmp_path / "out" / "rejected.csv").read_text()


def test_a_photo_without_measured_units_is_no_sitters():
    photos = [Photo("a", "a.jpg", "a.jpg", subject_id="p", label=0, points=tuple(range(10)))]
    assert [reject.reason for reject in without_sitter(photos, [])] == ["no_expression"]
