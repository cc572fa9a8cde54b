"""A conversion gives the same bytes however it is run, cut, killed or resumed, and says what it left out."""

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from seghgan_tf.data.folder import read_dataset_json
from seghgan_tf.data.schema import decode_face, encode_face
from tests.conftest import ROOT
from tests.data_tools import layouts
from tests.data_tools.test_readers import reasons, records
from tfrecords_tools.cli import app
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.draw import draw_dataset
from tfrecords_tools.faces import Picturing
from tfrecords_tools.merge import merge
from tfrecords_tools.rejects import sum_of
from tfrecords_tools.validate import validate


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Forty photos in a folder of classes, two of them broken."""
    root = tmp_path_factory.mktemp("source")
    images = layouts.drawn(38)[0]
    for number, image in enumerate(images):
        layouts.save_jpeg(root / ("happy" if number % 2 else "sad") / f"{number:03d}.jpg", image)
    (root / "happy" / "empty.jpg").touch()
    (root / "sad" / "text.jpg").write_text("no image")
    return root


def request(source, **more):
    return Conversion("folder", str(source), Picturing(48), shard_size=8, **more)


def contents(folder):
    """What a folder holds; a kill after all was written leaves the journal, which the next command removes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".journal"}


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    convert(request(source), output)
    return contents(output)


def test_the_same_conversion_gives_the_same_bytes(source, undisturbed, tmp_path):
    convert(request(source), tmp_path / "out")
    assert contents(tmp_path / "out") == undisturbed
    assert sorted(undisturbed)[:2] == ["dataset.json", "rejected.csv"]


def test_shards_do_not_depend_on_the_number_of_workers(source, undisturbed, tmp_path):
    convert(request(source), tmp_path / "out", workers=3)
    assert contents(tmp_path / "out") == undisturbed


def test_another_seed_deals_photos_out_anew(source, undisturbed, tmp_path):
    convert(request(source, seed=1), tmp_path / "out")
    other = contents(tmp_path / "out")
    assert other["train-00000-of-00005.tfrecord"] != undisturbed["train-00000-of-00005.tfrecord"]


def test_dataset_json_names_all_that_the_format_promises(undisturbed):
    about = json.loads(undisturbed["dataset.json"])
    assert about["schema_version"] == 1
    assert about["splits"]["train"]["examples"] == 34
    assert len(about["splits"]["train"]["shards"][0]["sha256"]) == 64
    assert about["labels"] == {"happy": 19, "sad": 19}
    assert about["expression"]["labels"][0] == "neutral"
    assert about["rejected"] == [{"reason": "empty_file", "count": 1}, {"reason": "not_an_image", "count": 1}]
    assert about["request"]["dataset"] == "folder"


def test_rejected_csv_names_file_reason_and_detail(undisturbed):
    rows = sorted(csv.reader(undisturbed["rejected.csv"].decode().splitlines()[1:]))
    assert rows == [
        ["happy/empty.jpg", "empty_file", "0 bytes"], ["sad/text.jpg", "not_an_image", "8 bytes, beginning with b'no image'"],
    ]  # fmt: skip


def test_a_finished_folder_is_left_as_it_is_and_another_request_is_an_error(source, undisturbed, tmp_path):
    convert(request(source), tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    convert(request(source), tmp_path / "out", workers=2)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match="--append"):
        convert(request(source, seed=5), tmp_path / "out")


def test_a_begun_conversion_goes_on_only_with_its_own_settings(source, tmp_path):
    with pytest.raises(ValueError, match="on-error report"):
        convert(request(source), tmp_path / "out", on_error="fail")
    with pytest.raises(ValueError, match=r"begun with, or removed.*seed 0"):
        convert(request(source, seed=5), tmp_path / "out")


def test_fail_stops_at_the_first_bad_file_and_keeps_what_was_finished(source, undisturbed, tmp_path):
    with pytest.raises(ValueError, match=r"`(happy/empty|sad/text)\.jpg` must be mended"):
        convert(request(source), tmp_path / "out", on_error="fail")
    assert not (tmp_path / "out" / "dataset.json").exists()
    convert(request(source), tmp_path / "out")
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("on_error", ["report", "skip"])
def test_skip_lists_rejects_in_the_file_and_not_on_the_screen(source, undisturbed, tmp_path, on_error):
    command = ["convert", "folder", source, tmp_path / "out", "--size", "48", "--shard-size", "8", "--workers", "1"]
    done = CliRunner().invoke(app, [*map(str, command), "--on-error", on_error])
    assert done.exit_code == 0, done.output
    for words in ("rejected: 1 empty_file", "rejected: 1 not_an_image", "each rejected file and why"):
        assert (words in done.output) == (on_error == "report")
    assert "train 34" in done.output
    assert (tmp_path / "out" / "rejected.csv").read_bytes() == undisturbed["rejected.csv"]
    assert contents(tmp_path / "out").keys() == undisturbed.keys()


def test_a_folder_with_other_files_is_not_written_to(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="must be a new or an empty folder"):
        convert(request(source), tmp_path / "out")
    with pytest.raises(ValueError, match="a file"):
        convert(request(source), tmp_path / "out" / "thesis.tex")


def test_an_output_whose_path_is_no_utf_8_is_refused_before_anything_is_written(source, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    process = start(source, folder)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "`output` must be a path in UTF-8" in err
    assert f"Received: {tmp_path}/caf\\xe9" in err
    for refused in (lambda: draw_dataset(folder, 1, 0, 0, 64, 1), lambda: merge([source, source], folder)):
        with pytest.raises(ValueError, match="must be a path in UTF-8"):
            refused()
    assert not folder.exists()
    shutil.copytree(source, folder / "in")
    convert(request(folder / "in"), tmp_path / "out")
    assert len(records(tmp_path / "out")) == 38, "a source may have any path"


def test_a_source_without_a_usable_photo_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="must hold photos"):
        convert(Conversion("folder", str(tmp_path / "in")), tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"validation": -0.1}, "validation"), ({"test": 1.5}, "test"), ({"validation": 30, "test": 30}, "leave photos"),
        ({"shard_size": 0}, "shard_size"),
    ],
)  # fmt: skip
def test_splits_and_shards_that_cannot_be_are_refused(source, tmp_path, more, words):
    with pytest.raises(ValueError, match=words):
        convert(Conversion("folder", str(source), **more), tmp_path / "out")


HELD = """
import os, time
from seghgan_tf.cli import main
from tfrecords_tools.convert import local, run

module = run if hasattr(run, name) else local
function = getattr(module, name)

def held(*arguments, **options):
    found = function(*arguments, **options)
    if name != "wait" or found[0]:
        os.write(1, b"held\\n")
        while True:
            time.sleep(0.01)
    return found

setattr(module, name, held)
main()
"""
"""The command line, which goes no further than the function of this name: `wait` is held once a shard is done."""


def start(source, output, *more, code="from seghgan_tf.cli import main; main()"):
    command = [
        sys.executable,
        "-c",
        code,
        "data",
        "convert",
        "folder",
        source,
        output,
        "--size",
        "48",
        "--shard-size",
        "8",
        *more,
    ]
    return subprocess.Popen(
        [os.fspath(each) for each in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def held(name, source, output, *more):
    """Start a conversion and return it as soon as it is held."""
    process = start(source, output, *more, code=f"name = {name!r}\n{HELD}")
    lines = iter(process.stdout.readline, "")
    assert "held\n" in lines, process.stderr.read()
    return process


AT_WORK = """
from tfrecords_tools.convert import run
plan = run._plan
def planned(*arguments):
    plan(*arguments)
    print("planned", flush=True); sys.stdin.readline()
run._plan = planned
"""
"""Goes no further than the plan, with the folder's lock in hand, until a line is written."""


def prepared(source, output, workers=1, more=""):
    """Convert in a process of its own that can be killed; the imports are done before `go` is written."""
    code = (
        "import sys; from tests.data_tools.test_convert import request; from tfrecords_tools.convert.run import convert\n"
        f"{more}print('ready', flush=True); sys.stdin.readline()\n"
        f"convert(request(sys.argv[1]), sys.argv[2], workers={workers}); print('done')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, source, output], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


LIVES = """
import os, signal, sys
from tests.data_tools.test_convert import request
from tfrecords_tools.convert.run import convert

def live(last):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    convert(request(sys.argv[1]), sys.argv[2])
    return seen

for line in sys.stdin:
    if child := os.fork():
        print("ended", os.waitpid(child, 0)[1], flush=True)
    else:
        print(live(int(line)), flush=True)
        os._exit(0)
"""
"""Lives, each a process of its own, so that TensorFlow is imported once; Python's audit hooks, called at each file opened, renamed
or removed, each connection and import, say where in its work a life ends by `kill -9`."""


def test_twenty_kills_at_random_points_change_no_byte(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-W", "ignore", "-c", LIVES, os.fspath(source), os.fspath(out)]
    chance, kills = random.Random(7), 0
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:

        def live(last):
            parent.stdin.write(f"{last}\n")
            parent.stdin.flush()
            return parent.stdout.readline()

        points = int(live(0))
        assert parent.stdout.readline() == "ended 0\n"
        while kills < 20:
            if (out / "dataset.json").exists():
                assert contents(out) == undisturbed
                shutil.rmtree(out)
            if live(chance.randrange(1, points)) == f"ended {int(signal.SIGKILL)}\n":
                kills += 1
            else:
                assert parent.stdout.readline() == "ended 0\n"
            for path in out.glob("*.tfrecord"):
                assert path.read_bytes() == undisturbed[path.name], "a shard was half written under its final name"
        live(0)
        assert parent.stdout.readline() == "ended 0\n"
        parent.stdin.close()
    assert not (out / ".journal").exists()
    assert contents(out) == undisturbed


def test_workers_end_with_their_killed_parent_and_the_work_goes_on(source, undisturbed, tmp_path):
    process = prepared(source, tmp_path / "out", workers=2)
    go(process)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*.tfrecord")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    convert(request(source), tmp_path / "out")
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("point", ["_make_plan", "_context", "_submit", "wait"])
def test_ctrl_c_says_that_the_same_command_goes_on(source, undisturbed, tmp_path, point):
    process = held(point, source, tmp_path / "out", "--workers", "2")
    assert (tmp_path / "out" / ".journal" / "plan.sqlite").exists()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, out + err
    assert "the same command goes on" in out + err
    assert "Traceback" not in err
    assert not list((tmp_path / "out").glob("*.part"))
    convert(request(source), tmp_path / "out")
    assert contents(tmp_path / "out").keys() == undisturbed.keys()


def test_a_disk_that_takes_no_more_is_a_plain_error_and_the_work_goes_on(source, undisturbed, tmp_path):
    # A limit on the size of files stands in for a full disk: the plan fits, a shard does not.
    code = (
        "import resource, sys; from tests.data_tools.test_convert import request; from tfrecords_tools.convert.run import convert\n"
        "from tfrecords_tools.convert import run\n"
        "plan = run._make_plan\n"
        "def limited(*arguments):\n"
        "    plan(*arguments); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "run._make_plan = limited\n"
        "try: convert(request(sys.argv[1]), sys.argv[2])\n"
        "except OSError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, os.fspath(source), os.fspath(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "`output` must take the shards" in done.stdout, done.stderr
    assert not list((tmp_path / "out").glob("*.tfrecord"))
    assert not list((tmp_path / "out").rglob("*.part"))
    convert(request(source), tmp_path / "out")
    assert contents(tmp_path / "out") == undisturbed
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_two_conversions_into_one_folder_exclude_each_other(source, tmp_path):
    first = prepared(source, tmp_path / "out", more=AT_WORK)
    go(first)
    assert first.stdout.readline() == "planned\n"
    with pytest.raises(OSError, match="another conversion is at work"):
        convert(request(source), tmp_path / "out")
    go(first)
    assert first.communicate()[0] == "done\n"


def test_append_adds_only_what_is_new_and_keeps_people_in_their_splits(tmp_path):
    source = layouts.london(tmp_path / "in", 5)
    aside = tmp_path / "aside"
    aside.mkdir()
    for photo in sorted((source / "smiling_front").iterdir()):
        photo.rename(aside / photo.name)
    (source / "neutral_front" / "002_03.jpg").write_bytes(b"")
    (source / "neutral_front" / "002_03.tem").unlink()
    first = Conversion("london", str(source), Picturing(32, "landmarks"), validation=1, test=1)
    before = convert(first, tmp_path / "out")
    shards = contents(tmp_path / "out")
    assert before["examples"] == 4
    (source / "smiling_front").mkdir(exist_ok=True)
    for photo in aside.iterdir():
        photo.rename(source / "smiling_front" / photo.name)
    after = convert(first, tmp_path / "out", append=True)
    found = records(tmp_path / "out")
    assert after["examples"] == len(found) == 9
    assert reasons(after) == {"empty_file": 1}
    assert (tmp_path / "out" / "rejected.csv").read_text().count("neutral_front/002_03.jpg") == 1
    assert str(sum_of(after)) == "20 files = 9 photos converted + 1 rejected + 0 excluded + 10 ignored"
    for name, data in shards.items():
        if name.endswith(".tfrecord"):
            assert (tmp_path / "out" / name).read_bytes() == data
    for person in ("001", "003", "004", "005"):
        assert found[f"london-{person}_03"][0] == found[f"london-{person}_08"][0]
    assert validate(tmp_path / "out") == []
    again = convert(first, tmp_path / "out", append=True)
    assert again["examples"] == 9
    assert (reasons(again), again["photos"]) == ({"empty_file": 1}, 9)


def test_append_judges_what_was_rejected_anew_and_keeps_what_another_folder_left_out(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    convert(request(tmp_path / "in"), tmp_path / "out")
    finished = (tmp_path / "out" / "dataset.json").read_bytes()
    shutil.copyfile(source / "happy" / "001.jpg", tmp_path / "in" / "happy" / "empty.jpg")
    (tmp_path / "in" / "sad" / "torn.jpg").write_bytes(b"torn")
    mended = convert(request(tmp_path / "in"), tmp_path / "out", append=True)
    assert (mended["examples"], reasons(mended)) == (39, {"not_an_image": 2})
    assert str(sum_of(mended)) == "41 files = 39 photos converted + 2 rejected + 0 excluded + 0 ignored"
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "dataset.json").write_bytes(finished)  # as where it was cut before the last file
    convert(request(tmp_path / "in"), tmp_path / "out", append=True)
    assert contents(tmp_path / "out") == whole
    layouts.save_jpeg(tmp_path / "other" / "new.jpg", layouts.drawn(38)[0][0])
    (tmp_path / "other" / "empty.jpg").touch()
    both = convert(request(tmp_path / "other"), tmp_path / "out", append=True)
    assert (both["examples"], reasons(both)) == (40, {"not_an_image": 2, "empty_file": 1})
    assert str(sum_of(both)) == "2 files = 1 photos converted + 1 rejected + 0 excluded + 0 ignored"


def test_appending_to_nothing_is_an_error(source, tmp_path):
    with pytest.raises(ValueError, match="leave out --append"):
        convert(request(source), tmp_path / "out", append=True)


def test_records_come_back_as_they_were_written(source, undisturbed, tmp_path):
    convert(request(source), tmp_path / "out")
    for _, face in records(tmp_path / "out").values():
        assert decode_face(encode_face(face)) == face
    assert read_dataset_json(tmp_path / "out")["source"] == "folder"
