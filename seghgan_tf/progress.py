"""How far a long command is: a bar in a terminal, a plain line every so often in a log."""

import contextlib
import datetime
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

SECONDS_A_LINE = 10.0
"""Time between two lines of a log."""


class Move(Protocol):
    """What a command calls as it goes on."""

    def __call__(self, done: int, total: int, told: str = "") -> None:
        """Show the number done, the number of all, and what else there is to tell."""


class _Pace:
    """The rate since the first count, and the time left; what was done before, by an earlier run, does not count."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def words(self, done: int, total: int) -> str:
        """Return for example "152.3/s, 0:01:05 left", or nothing in the first second."""
        now = time.monotonic()
        began, before = self.first = self.first or (now, done)
        if now < began + 1 or done == before:
            return ""
        rate = (done - before) / (now - began)
        pace = f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"
        return f"{pace}, {datetime.timedelta(seconds=round((total - done) / rate))} left"


@contextlib.contextmanager
def progress(console: Console, what: str) -> Iterator[Move]:
    """Show how far `what` is; yields what to call as it goes on."""
    pace = _Pace()
    if not console.is_terminal:
        yield _lines(console, what, pace)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None, words="")

        def move(done: int, total: int, told: str = "") -> None:
            bar.update(task, completed=done, total=total, words=" ".join(filter(None, (pace.words(done, total), told))))

        yield move


def _lines(console: Console, what: str, pace: _Pace) -> Move:
    last = time.monotonic()

    def move(done: int, total: int, told: str = "") -> None:
        nonlocal last
        words = ", ".join(filter(None, (f"{what}: {done} of {total}", pace.words(done, total), told)))
        if time.monotonic() >= last + SECONDS_A_LINE:
            last = time.monotonic()
            console.print(words, highlight=False, soft_wrap=True)

    return move
