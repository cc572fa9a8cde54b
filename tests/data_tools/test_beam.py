"""Apache Beam writes what the local runner writes; it runs in an interpreter of its own, since it needs older packages."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.data_tools import layouts
from tests.data_tools.test_convert import contents
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert as convert_here

BEAM = ROOT / ".venv" / "beam"
"""Where `make beam` puts Apache Beam, and the packages that it needs older than requirements.lock has them."""

needs_beam = pytest.mark.skipif(not BEAM.is_dir(), reason="needs Apache Beam: make beam")

CONVERSIONS = """
import json, sys
from seghgan_tf.cli import main

for command in json.load(sys.stdin):
    sys.argv = ["seghgan", "data", "convert", *command]
    try:
        main()
    except SystemExit as end:
        print("status", end.code)
"""


def convert(*commands):
    """Give commands, one after the other, to one interpreter that sees Beam; returns what it prints, with each exit status."""
    done = subprocess.run(
        [sys.executable, "-c", CONVERSIONS],
        input=json.dumps([[os.fspath(word) for word in command] for command in commands]),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.fspath(BEAM), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def on_beam(*arguments):
    return ("--runner", "beam", "--beam-args", " ".join(("--runner=DirectRunner", *arguments)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Thirty photos in a folder of classes, two of them broken."""
    root = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(layouts.drawn(28)[0]):
        layouts.save_jpeg(root / ("happy" if number % 2 else "sad") / f"{number:03d}.jpg", image)
    (root / "happy" / "empty.jpg").touch()
    (root / "sad" / "text.jpg").write_text("no image")
    return root


@needs_beam
@pytest.mark.slow
def test_beam_writes_the_bytes_of_the_local_runner_also_when_it_goes_on(photos, tmp_path):
    local, beam = tmp_path / "local", tmp_path / "beam"
    how = ("--size", "48", "--shard-size", "8")
    said = convert(
        ("folder", photos, local, *how, "--workers", "1"),
        ("folder", photos, beam, *how, "--on-error", "fail", *on_beam()),
        ("folder", photos, beam, *how, *on_beam("--direct_running_mode=multi_processing", "--direct_num_workers=1")),
    )
    assert said.count("status 0") == 2
    assert said.count("status 1") == 1
    assert "must be mended or removed, or give --on-error report" in said
    assert "the same command goes on" in said
    assert contents(beam) == contents(local)
    assert len(list(beam.glob("*.tfrecord"))) == 6
    assert not (beam / ".journal").exists()


@needs_beam
@pytest.mark.slow
def test_what_workers_fetch_from_elsewhere_gives_the_same_bytes(tmp_path):
    """This machine sees the names of the photos only, as in a bucket that it has mounted; workers see the photos elsewhere."""
    bucket, here = tmp_path / "bucket", tmp_path / "here"
    layouts.celebamask(bucket / "in", 6)
    (bucket / "in" / "CelebA-HQ-img" / "3.jpg").write_bytes(b"\xff\xd8 torn")
    convert_local = (
        "celebamask",
        bucket / "in",
        tmp_path / "local",
        "--size",
        "48",
        "--shard-size",
        "2",
        "--workers",
        "1",
    )
    shutil.copytree(bucket / "in", here / "in")
    for photo in (here / "in").rglob("*.jpg"):
        photo.write_bytes(b"")
    (here / "out").symlink_to(bucket / "out")
    (bucket / "out").mkdir()
    said = convert(
        convert_local,
        ("celebamask", here / "in", here / "out", "--size", "48", "--shard-size", "2", *on_beam(f"--mount={here}={bucket}")),
        ("celebamask", bucket / "in", tmp_path / "far", "--size", "48", *on_beam(f"--mount={here}={bucket}")),
        ("celebamask", bucket / "in", tmp_path / "far", "--size", "48", *on_beam("--mount=nowhere")),
    )  # fmt: skip
    assert "`source` and `output` must lie in the folder of --mount" in said
    assert "`mount` must be a folder of this machine" in said
    assert "1 not_an_image" in said
    found, expected = contents(bucket / "out"), contents(tmp_path / "local")
    assert {name: data for name, data in found.items() if name != "dataset.json"} == {
        name: data for name, data in expected.items() if name != "dataset.json"
    }
    about, local = (json.loads(each["dataset.json"]) for each in (found, expected))
    assert about == local


def test_without_beam_the_error_names_the_extra_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "tfrecords_tools.convert.beam", raising=False)
    with pytest.raises(ValueError, match=r"pip install 'seghgan-tf\[beam\]'"):
        convert_here(Conversion("folder", os.fspath(tmp_path)), tmp_path / "out", beam_args=[])
    assert not (tmp_path / "out").exists()
