"""Every flag that a page names is one that the command beside it has, so that no page teaches an option that is not there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from k8s.local_cluster.__main__ import parser as local_cluster
from seghgan_tf import cli
from serving.server.process import parser as server
from tests.conftest import ROOT

PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "k8s" / "README.md",
]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
INDENTED = re.compile(r"^ {4}((?:seghgan|python) .*)$", re.MULTILINE)
FOREIGN = {
    "kubectl": {"--server-side", "--from-file"},
    "pip install": {"--no-cache-dir"},
    "Dataflow": {"--mount"},
    "tensorflow_model_server": {"--rest_api_enable_cors_support"},
    "k6": {"--no-usage-report"},
}
"""Flags of other programs, allowed in a paragraph that names the program."""


def commands(command=None, name="seghgan") -> Iterator[tuple[str, set[str]]]:
    """Yield every command of `seghgan` with its flags, as its own parser has them."""
    command = command or typer.main.get_command(cli.app)
    yield name, {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)} | {"--help"}
    for word, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {word}")


def of_argparse(parser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


PROGRAMS = {
    **dict(commands()),
    "seghgan serve": of_argparse(server()),
    "python -m serving.server": of_argparse(server()),
    "python -m k8s.local_cluster": of_argparse(local_cluster()),
    **{
        name: set(FLAG.findall(path.read_text()))
        for path in (ROOT / "benchmarks").rglob("*.py")
        for name in (f"python {path.relative_to(ROOT)}", path.name)
    },
}
SEGHGAN = {"--install-completion"}.union(*(flags for name, flags in PROGRAMS.items() if name.startswith("seghgan")))


def unknown_in_line(line: str) -> set[str]:
    """Return the flags of a command line that its program lacks; those of programs that are not ours are not looked at."""
    words = shlex.split(line.split(" | ")[0], comments=True)
    program = next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in PROGRAMS), None)
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    return given - PROGRAMS[program] if program else set()


def unknown_in_prose(paragraph: str) -> set[str]:
    """Return the flags of a paragraph that no command has which it can be about."""
    allowed = SEGHGAN.union(*(flags for name, flags in (PROGRAMS | FOREIGN).items() if name in paragraph))
    beam = re.sub(r'--beam-args "[^"]*"', "", paragraph)
    return set(FLAG.findall(beam)) - allowed


def split(text: str) -> tuple[list[str], list[str]]:
    """Return a page's command lines (with their continuations), between fences or indented, and its paragraphs."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"```\w*\n(.+?)```", text, re.DOTALL)
    rest = re.sub(r"```.+?```", "", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(("seghgan ", "python "))]
    lines += INDENTED.findall(rest)
    return lines, re.split(r"\n\s*\n|\n(?=[|-] )|\n(?=\|)", INDENTED.sub("", rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_flags_that_exist(page: Path):
    lines, paragraphs = split(page.read_text())
    wrong = {line: found for line in lines if (found := unknown_in_line(line))}
    wrong |= {paragraph[:200]: found for paragraph in paragraphs if (found := unknown_in_prose(paragraph))}
    assert wrong == {}


def test_an_indented_command_is_held_to_its_own_flags():
    page = "Words.\n\n    seghgan status --server localhost:8500  # of `serve`: --grpc-port\n    seghgan edit a.png \\\n      --grpc-port 1\n"
    lines, paragraphs = split(page)
    assert [unknown_in_line(line) for line in lines] == [set(), {"--grpc-port"}]
    assert not any(FLAG.search(paragraph) for paragraph in paragraphs)
    quick = [line.split()[1] for line in split((ROOT / "docs" / "serving.md").read_text())[0]]
    assert {"export", "serve", "status", "edit", "bench-serve"} <= set(quick)


def test_a_flag_that_is_not_there_is_seen():
    assert unknown_in_line("seghgan serve export --grpc-prot 1") == {"--grpc-prot"}
    assert unknown_in_line("seghgan data convert folder a b --size 64 --szie=3") == {"--szie"}
    assert unknown_in_prose("Start `seghgan serve` with `--rest-api-timeout-in-s 5`.") == {"--rest-api-timeout-in-s"}
