"""Every command of docs/datasets.md is one that the program understands, and that Beam does."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import typer.main

from tests.conftest import ROOT
from tests.data_tools.test_beam import BEAM, needs_beam
from tfrecords_tools.cli import app
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.readers import READERS

PAGE = (ROOT / "docs" / "datasets.md").read_text()
COMMANDS = [shlex.split(line, comments=True) for line in PAGE.splitlines() if line.startswith("seghgan ")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_is_understood(words, tmp_path, monkeypatch):
    for folder in (word for word in words if word.startswith("records/")):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert words[:2] == ["seghgan", "data"]
    given = typer.main.get_command(app).commands[words[2]].make_context(words[2], words[3:]).params
    if words[2] == "convert":
        made = Conversion(given["dataset"], str(given["source"]), validation=given["validation"], test=given["test"])
        assert made.dataset == words[3]


def test_the_page_has_a_command_for_every_reader_and_engine():
    assert {words[3] for words in COMMANDS if words[2] == "convert"} == set(READERS)
    engines = {re.search(r"--runner=(\w+)", " ".join(words))[1] for words in COMMANDS if "--beam-args" in words}
    assert engines == {"DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner"}
    assert {words[2] for words in COMMANDS} == {"convert", "pair", "inspect", "validate", "merge"}


@needs_beam
def test_beam_knows_every_option_of_the_page():
    code = (
        "import json, sys; from tfrecords_tools.convert.beam import PipelineOptions\n"
        "for line in json.load(sys.stdin): PipelineOptions(line).get_all_options()\n"
    )
    lines = [shlex.split(words[words.index("--beam-args") + 1]) for words in COMMANDS if "--beam-args" in words]
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps([*lines, ["--no_such_option=1"]]), cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.fspath(BEAM)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.findall(r"unparseable args: (\[.*?\])", done.stderr) == ["['--no_such_option=1']"]
