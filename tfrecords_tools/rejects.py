"""`rejected.csv`: what a conversion left out, written row by row, so that memory does not grow with it."""

import contextlib
import csv
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from seghgan_tf.files import sync
from tfrecords_tools.photo import Reject

REJECTED_FILE = "rejected.csv"


class Reasons:
    """Counts rejects by reason, but for excluded ones, and keeps the first of each."""

    def __init__(self, rejects: Iterable[Reject] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, Reject] = {}
        for reject in rejects:
            self.add(reject)

    def add(self, reject: Reject) -> None:
        """Take in a reject."""
        if not reject.excluded:
            self.counts[reject.reason] += 1
            self._first.setdefault(reject.reason, reject)

    def most(self) -> list[str]:
        """Return a line for each reason, the commonest first.

        >>> Reasons([Reject("a.jpg", "empty_file", "0 bytes")]).most()
        ['1 empty_file (a.jpg: 0 bytes)']
        """
        first = ((count, self._first[reason]) for reason, count in self.counts.most_common())
        return [f"{count} {reject.reason} ({reject.file}: {reject.detail})" for count, reject in first]


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
        self.reasons.update({each["reason"]: each["count"] for each in description.get("rejected", ())})
        self.excluded.update({each["reason"]: each["count"] for each in description.get("excluded", ())})
        for file, *more in _rows(folder, description):
            self._rows.writerow((prefix + file, *more))

    def keep(self, folder: Path, description: dict[str, Any], judged: Callable[[str], bool]) -> int:
        """Take in the rows of a finished folder whose files are not `judged` anew, and return how many these are."""
        for row in _rows(folder, description):
            if not judged(row[0]):
                self.reasons[row[1]] += 1
                self._rows.writerow(row)
        return self.reasons.total()


def _rows(folder: Path, description: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the rows that a folder of this description has; what a conversion that was cut has added already is added anew."""
    path, told = folder / REJECTED_FILE, sum(each["count"] for each in description.get("rejected", ()))
    if path.is_file():
        with path.open(newline="", encoding="utf-8", errors="backslashreplace") as old:
            yield from itertools.islice(csv.reader(old), 1, 1 + told)


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


class Sum(NamedTuple):
    """What became of the files of the data set that was read last: each number counted by itself."""

    files: int
    rows: int
    photos: int
    rejected: int
    excluded: int
    ignored: int

    @property
    def holds(self) -> bool:
        """Whether every file, and every row without one of its own, is accounted for."""
        return self.files + self.rows == self.photos + self.rejected + self.excluded + self.ignored

    def __str__(self) -> str:
        """Return the sum as an equation where it is one; a share of several machines has but its own photos."""
        more = f" and {self.rows} rows without one of their own" if self.rows else ""
        parts = f"{self.photos} photos converted + {self.rejected} rejected + {self.excluded} excluded + {self.ignored} ignored"
        told = f"{self.files} files{more}"
        return f"{told} = {parts}" if self.holds else f"of {told} this folder alone tells of {parts}"


def sum_of(description: Mapping[str, Any]) -> Sum:
    """Return the sum of a folder of this description.

    >>> print(sum_of({"files": 3, "photos": 2, "rejected": [{"reason": "empty_file", "count": 1}]}))
    3 files = 2 photos converted + 1 rejected + 0 excluded + 0 ignored
    """
    rejected, excluded = (sum(each["count"] for each in description.get(key, ())) for key in ("rejected", "excluded"))
    files, rows, photos, before = (description.get(key, 0) for key in ("files", "rows", "photos", "rejected_before"))
    return Sum(files, rows, photos, rejected - before, excluded, sum(description.get("ignored", {}).values()))


def check_sum(description: Mapping[str, Any]) -> None:
    """Raise ValueError where the sum of a folder of this description does not hold."""
    if not (total := sum_of(description)).holds:
        raise ValueError(
            f"`source` must be accounted for, file by file; this is an error of the program. Received: {total}"
        )


def noted(description: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that was noted of joins and masks."""
    told = {**description.get("joins", {}), **description.get("notes", {})}
    yield from (f"{text}: {count}" for text, count in told.items() if count)


def most_frequent(reasons: Counter[str]) -> list[dict[str, Any]]:
    """Return reasons with their counts, most frequent first.

    >>> most_frequent(Counter(too_small=1, empty_file=2))
    [{'reason': 'empty_file', 'count': 2}, {'reason': 'too_small', 'count': 1}]
    """
    ordered = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    return [{"reason": reason, "count": count} for reason, count in ordered]
