"""Memory does not grow with a dataset: what must remember every photo does so on disk."""

import json
import tracemalloc

import pytest

from tests.data_tools import layouts
from tests.data_tools.test_readers import records
from tfrecords_tools import validate as validating
from tfrecords_tools.census import open_census
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.plan import Plan, PlanWriter
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing
from tfrecords_tools.merge import merge
from tfrecords_tools.photo import Photo, Reason, Reject
from tfrecords_tools.rejects import open_rejects


def plan(folder, count):
    writer = PlanWriter(folder / f"{count}.sqlite")
    entries = (
        Photo(f"{i}", f"/in/{i}.jpg", f"{i}.jpg") if i % 2 else Reject(f"{i}.jpg", Reason.NAME, "")
        for i in range(count)
    )
    writer.add(entries, 0, False)
    writer.finish(Conversion("folder", "/in"), {})
    opened = Plan(folder / f"{count}.sqlite")
    assert sum(1 for _ in opened.rejects()) == count / 2
    assert sum(1 for each in opened.shards() for _ in opened.photos(*each)) == count / 2
    opened.close()


def rejects(folder, count):
    for before in ({}, {"rejected": [{"reason": "too_small", "count": count}]}):
        with open_rejects(folder, folder) as opened:
            opened.take_over(folder, before)
            for number in range(count):
                opened.add(Reject(f"{number}.jpg", "too_small", "8 x 8"))
    with (folder / "rejected.csv").open() as lines:
        assert sum(1 for _ in lines) == 1 + 2 * count
    (folder / "rejected.csv").unlink()


def census(folder, count):
    with open_census() as opened:
        for number in range(count):
            assert opened.add_id(f"face {number}")
            opened.add_subject(f"person {number}", "train")
        assert not opened.add_id("face 7")
        opened.add_subject("person 7", "test")
        assert list(opened.torn()) == [("person 7", "test and train")]


@pytest.mark.parametrize("work", [plan, rejects, census])
def test_ten_times_the_photos_take_no_more_memory(work, tmp_path):
    peaks = []
    for count in (200, 1_000, 10_000):  # the first fills caches
        tracemalloc.start()
        work(tmp_path, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 100_000, peaks


def london(root, seed=0, **shares):
    conversion = Conversion("london", str(root / "in"), Picturing(32, "landmarks"), seed=seed, **shares)
    return convert(conversion, root / f"out{seed}")


def test_merging_folders_that_disagree_on_a_subjects_split_is_an_error(tmp_path):
    source = layouts.london(tmp_path / "in", 4)
    aside = source / "smiling_front"
    aside.rename(tmp_path / "smiling_front")
    london(tmp_path, 0, validation=0, test=0)
    (source / "neutral_front").rename(tmp_path / "neutral_front")
    (tmp_path / "smiling_front").rename(aside)
    london(tmp_path, 1, validation=0, test=2)
    with pytest.raises(ValueError, match=r"same seed.*london-00\d in test and train"):
        merge([tmp_path / "out0", tmp_path / "out1"], tmp_path / "both")
    assert not [path for path in tmp_path.iterdir() if "both" in path.name]


def test_only_so_many_problems_are_listed_and_the_others_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(validating, "LISTED", 3)
    layouts.london(tmp_path / "in", 4)
    london(tmp_path, validation=0, test=0)
    path = tmp_path / "out0" / "dataset.json"
    about = json.loads(path.read_text())
    about["splits"]["test"] = about["splits"]["train"]
    path.write_text(json.dumps(about))
    assert len(records(tmp_path / "out0")) == 8
    problems = validating.validate(tmp_path / "out0")
    assert len(problems) == 4
    assert problems[-1] == "and 17 problems more"  # of 8 ids, 4 subjects and 8 pictures
