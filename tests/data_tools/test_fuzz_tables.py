"""Corrupted annotations: files beside photos cost their photo a line of the report; a broken table is one plain error."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data_tools import layouts
from tests.data_tools.test_fuzz import EXAMPLES, cut, flipped, fuzzed, not_finite, rejected, too_large, words
from tests.data_tools.test_readers import records
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")


def array(value, **options):
    buffer = io.BytesIO()
    np.save(buffer, value, **options)
    return buffer.getvalue()


def arrays(outcome, part, values):
    """Arrays in place of one of a photo's four (`part`), and what its photo is rejected for."""
    return values.map(lambda value: (outcome, part, value if isinstance(value, bytes) else array(value)))


texts = words.map(np.array)
PLACES = layouts.landmarks_68(layouts.SIDE).ravel()
CLAIMS_MORE = array(np.zeros(9)).replace(b"(9,)", b"(9" + b"0" * 10 + b",)")
junk = st.binary(max_size=200).map(lambda data: b"junk"[: len(data)] + data)

ARRAYS = {
    "an array cut off": arrays("broken_annotation", "exp", cut(array(np.array("3")), 0, 100)),
    "landmarks cut off": arrays("broken_annotation", "lnd", cut(array(PLACES), 0, 1000)),
    "no array": arrays("broken_annotation", "val", junk),
    "an array without a number": arrays("broken_annotation", "exp", st.just(np.zeros(0))),
    "a pickled object": arrays("broken_annotation", "aro", st.just(array(np.array([{}], object), allow_pickle=True))),
    "an array that claims to be huge": arrays("broken_annotation", "lnd", st.just(CLAIMS_MORE)),
    "landmarks of another count": arrays("broken_annotation", "lnd", st.integers(1, 135).map(lambda n: PLACES[:n])),
    "landmarks that are not finite": arrays(
        "broken_annotation", "lnd", st.integers(0, 135).map(lambda n: np.where(np.arange(136) == n, np.inf, PLACES))
    ),
    "landmarks in words": arrays("broken_annotation", "lnd", texts),
    "an emotion that is none": arrays("unknown_label", "exp", st.integers(11, 10**9).map(str).map(np.array)),
    "an emotion in words": arrays("unknown_label", "exp", texts),
    "half an emotion": arrays("unknown_label", "exp", st.integers(0, 7).map(lambda n: np.array(n + 0.5))),
    "valence out of range": arrays("out_of_range", "val", st.floats(1.001, 1e9).map(np.array)),
    "arousal out of range": arrays("out_of_range", "aro", st.floats(-1.9, -1.001).map(str).map(np.array)),
    "valence that is no number": arrays("not_a_number", "val", st.one_of(texts, st.just(np.array(np.nan)))),
}


def test_corrupted_arrays_of_affectnet(tmp_path_factory):
    seen, kinds = Counter(), list(ARRAYS)
    good = [("train_set", number, number % 8, 0.5, -0.5) for number in (0, 99)]

    @fuzzed
    @given(st.fixed_dictionaries(ARRAYS))
    def convert_one(bad):
        root = tmp_path_factory.mktemp("affectnet")
        rows = [("train_set", number, 1, 0.25, 0.25) for number in range(1, len(kinds) + 1)]
        layouts.affectnet_2021(root / "in", good + rows)
        for number, (_, part, data) in enumerate(bad.values(), 1):
            (root / "in" / "train_set" / "annotations" / f"{number}_{part}.npy").write_bytes(data)
        convert(Conversion("affectnet", str(root / "in"), validation=0, test=0), root / "out")
        assert sorted(records(root / "out")) == ["affectnet-train_set/images/0", "affectnet-train_set/images/99"]
        assert rejected(root / "out") == {
            f"train_set/images/{number}.jpg": outcome for number, (outcome, *_) in enumerate(bad.values(), 1)
        }
        seen.update(bad.keys())

    convert_one()
    assert min(seen.values()) >= EXAMPLES
    assert seen.total() >= 100


LINES = ["189", *(f"{600 + place}\t{500 + place % 7}" for place in range(189)), "0", ""]
lines = st.integers(1, 189)


def with_line(pair):
    return "\n".join([*LINES[: pair[0]], pair[1], *LINES[pair[0] + 1 :]]).encode()


TEMS = {
    "cut off": lines.map(lambda count: "\n".join(LINES[:count]).encode()),
    "a place that is not finite": st.tuples(lines, not_finite.map("600\t{}".format)).map(with_line),
    "a place in words": st.tuples(lines, words).map(with_line),
    "a place of three numbers": st.tuples(lines, st.just("1 2 3")).map(with_line),
    "another count": st.integers().filter(lambda n: n != 189).map(lambda n: with_line((0, str(n)))),
    "no text": st.binary(max_size=300).map(b"\xff\xfe".__add__),
    "nothing": st.just(b""),
}


def test_corrupted_landmarks_of_london(tmp_path_factory):
    source = layouts.london(tmp_path_factory.mktemp("london") / "in", 1 + len(TEMS))
    seen = Counter()

    @fuzzed
    @given(st.fixed_dictionaries(TEMS))
    def convert_one(bad):
        for person, data in enumerate(bad.values(), 2):
            (source / "neutral_front" / f"{person:03d}_03.tem").write_bytes(data)
        out = tmp_path_factory.mktemp("london") / "out"
        convert(Conversion("london", str(source), Picturing(64, "landmarks"), validation=0, test=0), out)
        assert rejected(out) == {
            f"neutral_front/{person:03d}_03.tem": "broken_annotation" for person in range(2, 2 + len(bad))
        }
        assert len(records(out)) == 2 + len(bad)
        seen.update(bad.keys())

    convert_one()
    assert min(seen.values()) >= EXAMPLES


CELLS = {
    "too large": st.tuples(st.just("action_unit_out_of_range"), too_large),
    "below zero": st.tuples(st.just("action_unit_out_of_range"), st.floats(-1e9, -0.001).map(repr)),
    "not finite": st.tuples(st.just("not_a_number"), not_finite),
    "in words": st.tuples(st.just("not_a_number"), words),
    "with a unit": st.tuples(st.just("not_a_number"), st.floats(0, 5).map("{:.2f}%".format)),
    "empty": st.tuples(st.just(None), st.just("")),
    "largest": st.tuples(st.just(None), st.just("5.0")),
}


def test_corrupted_cells_of_an_openface_table(tmp_path_factory):
    source = layouts.celebamask(tmp_path_factory.mktemp("celeba") / "in", 1 + len(CELLS))
    seen = Counter()

    @fuzzed
    @given(st.fixed_dictionaries(CELLS))
    def convert_one(bad):
        root = tmp_path_factory.mktemp("celeba")
        rows = ["filename, confidence, success, AU12_r, AU25_r", "0.jpg, 0.98, 1, 2.5, 1.5"]
        rows += [f"{number}.jpg, 0.98, 1, 0.5, {cell}" for number, (_, cell) in enumerate(bad.values(), 1)]
        (root / "aus.csv").write_text("\n".join(rows))
        actions = ActionTable(str(root / "aus.csv"))
        convert(Conversion("celebamask", str(source), actions=actions, validation=0, test=0), root / "out")
        reasons = {f"{number}.jpg": reason for number, (reason, _) in enumerate(bad.values(), 1) if reason}
        assert rejected(root / "out") == reasons
        found = records(root / "out")
        assert len(found) == 1 + len(bad) - len(reasons)
        assert found["celebamask-0"][1].aus == {"AU12": 2.5, "AU25": 1.5}
        assert found["celebamask-0"][1].image == (source / "CelebA-HQ-img" / "0.jpg").read_bytes()
        seen.update(bad.keys())

    convert_one()
    assert min(seen.values()) >= EXAMPLES


MAPPING = "idx orig_idx orig_file\n0 5 000006.jpg\n1 162771 162772.jpg\n"
TABLES = {
    "CelebA-HQ-to-CelebA-mapping.txt": MAPPING,
    "CelebAMask-HQ-attribute-anno.txt": "2\nBald Smiling Young\n0.jpg  -1 1 1\n1.jpg  -1 -1 1\n",
    "list_eval_partition.txt": "000006.jpg 0\n162772.jpg 1\n",
    "aus.csv": "filename, confidence, success, AU12_r\n0.jpg, 0.98, 1, 2.5\n1.jpg, 0.98, 1, 0.5\n",
    "labels.csv": 'filename,label,AU12_r,split\nCelebA-HQ-img/0.jpg,happy,2.5,train\n"CelebA-HQ-img/1.jpg",sad,,train\n',
    "london_info.csv": "face_id,face_age\n001,30\n",
    "training.csv": "subDirectory_filePath,facial_landmarks,expression,valence,arousal\nCelebA-HQ-img/0.jpg,,1,0.5,0.5\n",
}


def broken(text):
    """A table with a bit turned, cut, torn, with a quote that stays open, with a giant cell, or no table at all."""
    data, size = text.encode(), len(text.encode())
    return st.one_of(
        flipped(data, 0, size), cut(data, 0, size), st.binary(max_size=99), st.just(data.decode().encode("utf-16")),
        st.integers(0, size).map(lambda n: data[:n] + b'"' + data[n:]),
        st.integers(0, size).map(lambda n: data[:n] + b"\0" + data[n:]),
        st.integers(0, size).map(lambda n: data[:n] + b"9" * 140_000 + data[n:]),
    )  # fmt: skip


def test_corrupted_tables_are_one_plain_error_or_cost_single_rows(tmp_path_factory):
    source = layouts.celebamask(tmp_path_factory.mktemp("tables") / "in", 2)
    layouts.london(source, 1)
    outcomes = Counter()

    @fuzzed
    @given(st.fixed_dictionaries({name: broken(text) for name, text in TABLES.items()}))
    def convert_one(tables):
        for name, data in tables.items():
            for other, text in TABLES.items():
                (source / other).unlink(missing_ok=True)
                if {name, other} <= {"CelebA-HQ-to-CelebA-mapping.txt", "list_eval_partition.txt"}:
                    (source / other).write_text(text)
            (source / name).write_bytes(data)
            dataset = {"labels.csv": "folder", "london_info.csv": "london", "training.csv": "affectnet"}
            actions = ActionTable(str(source / name)) if name == "aus.csv" else None
            out = tmp_path_factory.mktemp("tables") / "out"
            conversion = Conversion(
                dataset.get(name, "celebamask"), str(source), actions=actions, validation=0, test=0, shard_size=2
            )
            try:
                convert(conversion, out)
                message = None
            except ValueError as error:
                message = str(error)
            if message is None:
                refused = rejected(out) if (out / "rejected.csv").exists() else {}
                outcomes["rejected" if refused else "as good as whole"] += 1
                assert records(out) or refused  # a row that is broken may have been that of the only photo
            else:
                outcomes["an error"] += 1
                assert " must " in message, name
                assert len(message) < 1000, name

    convert_one()
    assert outcomes.total() >= 7 * EXAMPLES
    assert outcomes["an error"] >= EXAMPLES
