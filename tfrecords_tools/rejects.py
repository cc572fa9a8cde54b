"""`rejected.csv`: what a conversion left out, written row by row, so that memory does not grow with it."""

import contextlib
import csv
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from seghgan_tf.files import sync
from tfrecords_tools.photo import Reject

REJECTED_FILE = "rejected.csv"


class Rejects:
    """Counts rejects by reason and writes a row for each."""

    def __init__(self, stream: TextIO) -> None:
        self.reasons: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()
        self._rows = csv.writer(stream, lineterminator="\n")
        self._rows.writerow(("file", "reason", "detail"))

    def add(self, reject: Reject) -> None:
        """Take in a reject; an excluded one is only counted."""
        (self.excluded if reject.excluded else self.reasons)[reject.reason] += 1
        if not reject.excluded:
            self._rows.writerow((reject.file, reject.reason, reject.detail))

    def to_json(self) -> dict[str, Any]:
        """Return reasons and exclusions with their counts, as `dataset.json` holds them."""
        return {"rejected": most_frequent(self.reasons), "excluded": most_frequent(self.excluded)}

    def take_over(self, folder: Path, description: dict[str, Any], prefix: str = "") -> None:
        """Take in what a finished folder of this description left out; `prefix` goes before each file's name."""
        told = Counter({each["reason"]: each["count"] for each in description.get("rejected", ())})
        self.reasons.update(told)
        self.excluded.update({each["reason"]: each["count"] for each in description.get("excluded", ())})
        path = folder / REJECTED_FILE
        if path.is_file():
            with path.open(newline="", encoding="utf-8", errors="backslashreplace") as old:
                # what a conversion that was cut has added already is added anew
                for row in itertools.islice(csv.reader(old), 1, 1 + told.total()):
                    self._rows.writerow([prefix + cell if column == 0 else cell for column, cell in enumerate(row)])


@contextlib.contextmanager
def open_rejects(output: Path, aside: Path) -> Iterator[Rejects]:
    """Open the file of a folder; it is written in `aside` and given its name at the end.

    Where there is nothing to say there is no file.
    """
    path, part = output / REJECTED_FILE, aside / f"{REJECTED_FILE}.part"
    with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        rejects = Rejects(stream)
        yield rejects
        stream.flush()
        os.fsync(stream.fileno())
    if rejects.reasons or path.is_file():
        part.rename(path)
        sync(output)
    else:
        part.unlink()


def left_out(description: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each reason for which files were left out of a folder of this description."""
    for key in ("excluded", "rejected"):
        yield from (f"{key}: {each['count']} {each['reason']}" for each in description.get(key, ()))
    yield from (f"ignored: {count} {rule}" for rule, count in description.get("ignored", {}).items())


def noted(description: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that was noted of joins and masks."""
    told = {**description.get("joins", {}), **description.get("notes", {})}
    yield from (f"{text}: {count}" for text, count in told.items() if count)


def most_frequent(reasons: Counter[str]) -> list[dict[str, Any]]:
    """Return reasons with their counts, most frequent first.

    >>> most_frequent(Counter(too_small=1, empty_file=2))
    [{'reason': 'empty_file', 'count': 2}, {'reason': 'too_small', 'count': 1}]
    """
    return [
        {"reason": reason, "count": count}
        for reason, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    ]
