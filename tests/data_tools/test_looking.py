"""What inspect, validate and merge say of folders of records: sound ones, and ones that were damaged on purpose."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from seghgan_tf.expressions import AUS
from tests.data_tools import layouts
from tests.data_tools.test_readers import records
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.cli import app
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing
from tfrecords_tools.inspect import overview
from tfrecords_tools.merge import common_space, merge
from tfrecords_tools.validate import validate


@pytest.fixture
def folder(tmp_path):
    """Six faces with masks and action units, and one file that was rejected."""
    source = layouts.celebamask(tmp_path / "celeba", 6)
    (source / "CelebA-HQ-img" / "6.jpg").touch()
    names = [f"{number}.jpg" for number in range(6)]
    table = layouts.write_aus(tmp_path / "aus.csv", names, layouts.drawn(6)[2])
    conversion = Conversion(
        "celebamask", str(source), Picturing(64), actions=ActionTable(str(table)), validation=1, test=1
    )
    convert(conversion, tmp_path / "out")
    return tmp_path / "out"


def london(root, **more):
    convert(Conversion("london", str(layouts.london(root / "in", 4)), Picturing(64, "landmarks"), **more), root / "out")
    return root / "out"


def test_an_overview_counts_what_the_records_hold(folder):
    found = overview(folder)
    assert (found.read, found.tally.totals["masks"], found.aligned) == (6, 6, 6)
    np.testing.assert_allclose(np.sort(found.units, 0), np.sort(layouts.drawn(6)[2], 0), atol=0.006)
    assert found.histogram("AU12").sum() == 6
    shown = found.correlations()
    moving = np.flatnonzero(~np.isnan(np.diag(shown)))
    expected = np.corrcoef(layouts.drawn(6)[2].T[moving])
    np.testing.assert_allclose(shown[np.ix_(moving, moving)], expected, atol=0.02)


def test_inspect_prints_splits_units_and_rejects_and_writes_one_page(folder, tmp_path):
    done = CliRunner().invoke(app, ["inspect", str(folder), "--html", str(tmp_path / "a.html")])
    assert done.exit_code == 0, done.output
    for words in ("6 with masks", "AU12", "1 empty_file", "class shares"):
        assert words in done.output
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img") == 12
    for title in ("Pictures", "Splits", "Classes", "Action units", "Correlations", "Rejected"):
        assert f"<h2>{title}" in page
    assert "http" not in page


def test_a_sound_folder_has_no_problem(folder, tmp_path):
    assert validate(folder) == []
    assert validate(folder, workers=2) == []
    assert validate(london(tmp_path / "london")) == []
    assert CliRunner().invoke(app, ["validate", str(folder)]).exit_code == 0


def rewritten(folder, change):
    about = json.loads((folder / "dataset.json").read_text())
    change(about)
    (folder / "dataset.json").write_text(json.dumps(about))


def test_damage_is_found_and_sets_the_exit_status(folder):
    path = next(folder.glob("train-*.tfrecord"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = CliRunner().invoke(app, ["validate", str(folder), "--workers", "1"])
    assert done.exit_code == 1
    assert "SHA-256" in done.output
    assert "damage after" in done.output


def test_lost_surplus_and_miscounted_shards_are_found(folder):
    next(folder.glob("test-*.tfrecord")).unlink()
    (folder / "train-more.tfrecord").touch()
    rewritten(folder, lambda about: about["splits"]["train"].update(examples=9))
    problems = "\n".join(validate(folder))
    for words in ("is not there", "train-more.tfrecord: is not in dataset.json", "9 examples, its shards of 4"):
        assert words in problems


def test_a_subject_in_two_splits_and_an_id_twice_are_problems(tmp_path):
    folder = london(tmp_path, validation=0, test=0)

    def twice(about):
        about["splits"]["test"] = about["splits"]["train"]

    rewritten(folder, twice)
    problems = "\n".join(validate(folder))
    assert "the subject london-001 is in several splits" in problems
    assert "the id london-001_03 is there twice" in problems


def test_merged_folders_hold_every_record_as_it_was(folder, tmp_path):
    source = layouts.london(tmp_path / "in", 4)
    names = [f"neutral_front/00{person}_03.jpg" for person in range(1, 5)]
    table = layouts.write_aus(tmp_path / "two.csv", names, layouts.drawn(4)[2], ("AU12", "AU25"))
    other = tmp_path / "other"
    convert(Conversion("london", str(source), Picturing(64, "landmarks"), actions=ActionTable(str(table))), other)
    description = merge([folder, other], tmp_path / "both")
    assert records(tmp_path / "both") == {**records(folder), **records(other)}
    assert description["examples"] == 14
    assert description["masks"] == 6
    assert description["source"] == "celebamask+london"
    assert description["expression"]["labels"] == ["AU12", "AU25"]
    assert validate(tmp_path / "both") == []


def test_a_merged_folder_tells_what_each_of_its_parts_left_out(folder, tmp_path, monkeypatch):
    source = layouts.london(tmp_path / "in", 4)
    (source / "neutral_front" / "003_03.jpg").write_bytes(b"")
    (source / "smiling_front" / "004_08.jpg").write_text("no image")
    names = [f"neutral_front/00{person}_03.jpg" for person in range(1, 5)]
    table = layouts.write_aus(tmp_path / "two.csv", names, layouts.drawn(4)[2])
    convert(
        Conversion("london", str(source), Picturing(64, "landmarks"), actions=ActionTable(str(table))), tmp_path / "b"
    )
    rewritten(folder, lambda about: about.update(excluded=[{"reason": "no_face", "count": 5}]))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["merge", "both", "out", "b"])
    assert done.exit_code == 0, done.output
    assert "rejected: 2 empty_file" in done.output
    about = json.loads((tmp_path / "both" / "dataset.json").read_text())
    assert about["rejected"] == [{"reason": "empty_file", "count": 2}, {"reason": "not_an_image", "count": 1}]
    assert about["excluded"] == [{"reason": "no_face", "count": 5}]
    rows = list(csv.reader((tmp_path / "both" / "rejected.csv").read_text().splitlines()))
    assert rows[0] == ["file", "reason", "detail"]
    assert rows[1:] == [
        [f"{part}/{row[0]}", *row[1:]]
        for part in ("out", "b")
        for row in list(csv.reader((tmp_path / part / "rejected.csv").read_text().splitlines()))[1:]
    ]
    assert {tuple(row[:2]) for row in rows[1:]} == {
        ("out/6.jpg", "empty_file"),
        ("b/neutral_front/003_03.jpg", "empty_file"),
        ("b/smiling_front/004_08.jpg", "not_an_image"),
    }


def test_a_merged_folder_names_files_by_the_part_of_the_paths_that_differs(tmp_path):
    for place in ("a", "b"):
        for number in range(2):
            layouts.save_jpeg(tmp_path / place / "in" / f"{place}{number}.jpg", layouts.drawn(4)[0][number])
        (tmp_path / place / "in" / "torn.jpg").write_bytes(b"torn")
        convert(Conversion("folder", str(tmp_path / place / "in"), Picturing(32)), tmp_path / place / "out")
    merge([tmp_path / "a" / "out", tmp_path / "b" / "out"], tmp_path / "both")
    text = (tmp_path / "both" / "rejected.csv").read_text()
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == ["a/out/torn.jpg", "b/out/torn.jpg"]
    assert str(tmp_path) not in text


def test_merging_refuses_what_does_not_belong_together(folder, tmp_path):
    with pytest.raises(ValueError, match="no record in common"):
        merge([folder, folder], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    with pytest.raises(ValueError, match="two or more"):
        merge([folder], tmp_path / "both")
    with pytest.raises(ValueError, match="must be a new folder"):
        merge([folder, folder], folder)
    with pytest.raises(ValueError, match="in common"):
        merge([folder, london(tmp_path / "labelled")], tmp_path / "both")


def test_spaces_share_their_action_units_or_must_be_equal():
    both = common_space([{"labels": ["AU01", "AU12"]}, None, {"labels": list(AUS[1:])}])
    assert list(both["labels"]) == ["AU12"]
    with pytest.raises(ValueError, match="in common"):
        common_space([{"labels": ["AU01"]}, {"labels": ["AU12"]}])
    assert common_space([None, None]) is None
