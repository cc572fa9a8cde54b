"""Progress: a bar in a terminal, plain lines in a log, each with count, rate and time left."""

import io
import re

from rich.console import Console

from seghgan_tf import progress as shown


def run(monkeypatch, terminal, counts):
    """Show the counts, one every five seconds of a clock that the test turns; return what was written."""
    now = [0.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: now[0])
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100, get_time=lambda: now[0])
    with shown.progress(console, "convert") as move:
        for done in counts:
            move(done, 1000)
            now[0] += 5.0
    return written.getvalue()


def test_a_log_gets_a_plain_line_every_ten_seconds(monkeypatch):
    lines = run(monkeypatch, False, [400, 450, 500, 550, 600]).splitlines()
    assert lines == ["convert: 500 of 1000, 10.0/s, 0:00:50 left", "convert: 600 of 1000, 10.0/s, 0:00:40 left"]


def test_what_else_there_is_to_tell_stands_at_the_end(monkeypatch):
    clock = iter([0.0, 0.0, 11.0, 11.0, 11.0])
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(clock))
    written = io.StringIO()
    with shown.progress(Console(file=written), "train") as move:
        move(1, 3, "joint miou 0.500")
    assert written.getvalue() == "train: 1 of 3, joint miou 0.500\n"


def test_what_an_earlier_run_did_is_not_of_this_ones_rate(monkeypatch):
    assert run(monkeypatch, False, [990, 990, 991]).splitlines() == ["convert: 991 of 1000, 0.1/s, 0:01:30 left"]
    slow = run(monkeypatch, False, [990, 990, 990, 990, 991]).splitlines()
    assert slow[-1] == "convert: 991 of 1000, 20 s each, 0:03:00 left"


def test_a_terminal_gets_a_bar_with_rate_and_time_left(monkeypatch):
    written = run(monkeypatch, True, [0, 100, 200])
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n").strip().splitlines()[-1]
    assert re.search(r"convert .* 200/1000 20\.0/s, 0:00:40 left", last)
