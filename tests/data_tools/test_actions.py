"""OpenFace tables: joined in every form it writes, checked for range and unit, and never guessed."""

import csv
import os

import numpy as np
import pytest

from seghgan_tf.expressions import AUS
from tests.data_tools import layouts
from tfrecords_tools.actions import Actions, ActionTable
from tfrecords_tools.photo import Note, Photo, Reason, Reject


@pytest.fixture
def joined(tmp_path):
    """Join photos to a table; returns the entries and the join."""
    opened = []

    def join(photos, table):
        actions = Actions(tmp_path / "join.sqlite")
        opened.append(actions)
        actions.load(table)
        found = list(actions.join(photos))
        return [each for each in found if not isinstance(each, Note)], actions

    yield join
    for actions in opened:
        actions.close()


def photo(name, folder="/nowhere"):
    return Photo(name, f"{folder}/{name}", name)


def table(path, rows, header="filename, confidence, success, AU01_r, AU12_r, AU12_c"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return ActionTable(str(path))


@pytest.fixture
def folder(tmp_path):
    """A folder of ten images, so that photos in it can be frames."""
    for number in range(10):
        layouts.save_jpeg(tmp_path / "clip" / f"frame{number:02d}.jpg", layouts.drawn(1)[0][0])
    return tmp_path / "clip"


def test_rows_join_by_path_or_by_bare_file_name(joined, folder):
    rows = ["frame01.jpg, 0.9, 1, 2.5, 3, 1", "other/frame02.jpg, 0.9, 1, 1, 1, 1", "sub/frame01.jpg, 1, 1, 0, 4, 1"]
    names = ("other/frame02.jpg", "sub/frame01.jpg", "deep/frame01.jpg", "frame02.jpg")
    found, actions = joined([photo(name, folder) for name in names], table(folder / "a.csv", rows))
    assert [each.aus for each in found] == [
        {"AU01": 1.0, "AU12": 1.0}, {"AU01": 0.0, "AU12": 4.0}, {"AU01": 2.5, "AU12": 3.0}, None,
    ]  # fmt: skip
    assert actions.counts == {"photos joined": 3, "photos without a row": 1, "rows without a photo": 0}


def test_a_bare_name_that_could_mean_two_photos_is_an_error(joined, folder):
    source = table(folder / "a.csv", ["1.jpg, 0.9, 1, 2.5, 3, 1"])
    with pytest.raises(ValueError, match=r"by their paths.*1\.jpg, which could be happy/1\.jpg or sad/1\.jpg"):
        joined([photo("happy/1.jpg", folder), photo("sad/1.jpg", folder)], source)


def test_names_in_any_encoding_join(joined, folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    source = table(folder / "a.csv", [])
    with (folder / "a.csv").open("ab") as stream:
        stream.write(b"caf\xe9.jpg, 0.9, 1, 2.5, 3, 1\n")
    found, _ = joined([photo(name, folder)], source)
    assert found[0].aus == {"AU01": 2.5, "AU12": 3.0}


def test_a_row_without_success_or_confidence_says_nothing(joined, folder):
    rows = ["frame01.jpg, 0.9, 0, 2, 2, 0", "frame02.jpg, 0.4, 1, 2, 2, 0", "frame03.jpg, 0.7, 1, 2, 2, 0"]
    found, actions = joined([photo(f"frame0{i}.jpg", folder) for i in (1, 2, 3)], table(folder / "a.csv", rows))
    assert [each.aus for each in found] == [None, None, {"AU01": 2.0, "AU12": 2.0}]
    assert actions.counts == {"photos without a face": 2, "photos joined": 1, "rows without a photo": 0}


def test_absent_columns_and_empty_cells_are_unknown_and_not_zero(joined, folder):
    found, actions = joined([photo("frame01.jpg", folder)], table(folder / "a.csv", ["frame01.jpg, 0.9, 1, , 0, 1"]))
    assert found[0].aus == {"AU12": 0.0}
    assert actions.columns == ("AU01", "AU12")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("5.01", Reason.ACTION_UNITS), ("-0.1", Reason.ACTION_UNITS), ("nan", Reason.NOT_A_NUMBER), ("inf", Reason.NOT_A_NUMBER), ("x", Reason.NOT_A_NUMBER)],
)  # fmt: skip
def test_a_bad_value_rejects_its_photo_alone(joined, folder, cell, reason):
    rows = [f"frame01.jpg, 0.9, 1, 1, {cell}, 1", "frame02.jpg, 0.9, 1, 1, 5, 1"]
    found, _ = joined([photo("frame01.jpg", folder), photo("frame02.jpg", folder)], table(folder / "a.csv", rows))
    assert found[0] == Reject("frame01.jpg", reason, f"AU12 is {cell}", path=f"{folder}/frame01.jpg")
    assert found[1].aus == {"AU01": 1.0, "AU12": 5.0}


def test_a_table_in_zero_to_one_is_an_error_until_the_scale_is_given(joined, folder):
    rows = [f"frame{i:02d}.jpg, 0.9, 1, 0.{i}, 0.5, 1" for i in range(20)]
    source = table(folder / "a.csv", rows)
    with pytest.raises(ValueError, match="--au-scale 1"):
        joined([], source)
    found, _ = joined([photo("frame03.jpg", folder)], source._replace(scale=1))
    assert found[0].aus == pytest.approx({"AU01": 1.5, "AU12": 2.5})
    found, _ = joined([photo("frame03.jpg", folder)], source._replace(scale=5))
    assert found[0].aus == pytest.approx({"AU01": 0.3, "AU12": 0.5})


def test_a_scale_of_one_does_not_let_larger_values_pass(joined, folder):
    source = table(folder / "a.csv", ["frame01.jpg, 0.9, 1, 1, 1.2, 1"])._replace(scale=1)
    assert joined([photo("frame01.jpg", folder)], source)[0][0].reason == Reason.ACTION_UNITS


def test_action_units_that_the_table_lacks_cannot_be_asked_for(joined, folder):
    source = table(folder / "a.csv", ["frame01.jpg, 0.9, 1, 1, 1, 1"])._replace(units=("AU12", "AU45"))
    with pytest.raises(ValueError, match=r"AU01, AU12\).*Received: AU45"):
        joined([], source)


def test_one_table_a_photo_takes_the_most_confident_face(joined, folder):
    header = "face, confidence, AU01_r, AU12_r"
    table(folder.parent / "of" / "frame04.csv", ["0, 0.80, 1, 1", "1, 0.95, 2, 2", "2, 0.90, 3, 3"], header)
    found, _ = joined(
        [photo("frame04.jpg", folder), photo("frame05.jpg", folder)], ActionTable(str(folder.parent / "of"))
    )
    assert [each.aus for each in found] == [{"AU01": 2.0, "AU12": 2.0}, None]


def test_one_table_a_sequence_joins_frames_in_the_order_of_their_names(joined, folder):
    header = "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r"
    rows = [f"{number}, 0, 0.0, 0.98, 1, {number / 4}, 0.5" for number in range(1, 11)]
    table(folder.parent / "of" / "clip.csv", rows, header)
    found, _ = joined(
        [photo("frame00.jpg", folder), photo("frame09.jpg", folder)], ActionTable(str(folder.parent / "of"))
    )
    assert [each.aus["AU01"] for each in found] == [0.25, 2.5]
    nested = Photo("x", str(folder / "frame01.jpg"), "clip/frame01.jpg")
    assert joined([nested], ActionTable(str(folder.parent / "of")))[0][0].aus["AU01"] == 0.5


def test_tables_that_cannot_be_used_are_errors(joined, tmp_path, folder):
    with pytest.raises(ValueError, match="AU01_r"):
        joined([], table(tmp_path / "b" / "a.csv", ["x.jpg, 1"], "filename, confidence"))
    with pytest.raises(ValueError, match="each photo once"):
        joined([], table(tmp_path / "c" / "a.csv", ["x.jpg, 1, 1, 0, 3, 0"] * 2))
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="has none"):
        joined([], ActionTable(str(tmp_path / "none")))
    source = table(tmp_path / "d" / "a.csv", ["other.jpg, 1, 1, 0, 3, 0"])
    with pytest.raises(ValueError, match=r"first is 'other\.jpg'"):
        joined([photo("frame01.jpg", folder)], source)


def test_the_tables_of_the_real_faces_are_read_to_the_last_digit(joined, faces_folder):
    path = faces_folder / "london" / "aus.csv"
    names = [f"neutral_front/{person}_03.jpg" for person in ("001", "002", "173")]
    photos = [Photo(name, str(faces_folder / "london" / name), name) for name in names]
    found, actions = joined(photos, ActionTable(str(path)))
    with path.open() as stream:
        told = {row["filename"]: row for row in csv.DictReader(stream)}
    for each in found:
        for unit, value in each.aus.items():
            assert value == float(told[each.name][f"{unit}_r"])
    assert set(AUS) - set(actions.columns) == {"AU06", "AU09", "AU23"}
    assert np.isfinite([value for each in found for value in each.aus.values()]).all()
