"""Action units: OpenFace 2's CSV files, checked, kept on disk, and joined to photos by name."""

import contextlib
import dataclasses
import json
import math
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seghgan_tf.expressions import AUS, MAX_INTENSITY
from tfrecords_tools.photo import Note, Photo, Reason, Reject, readable
from tfrecords_tools.readers.files import same
from tfrecords_tools.tables import SURPLUS, read_table

FRAMES = (".jpg", ".jpeg", ".png", ".bmp")
"""Endings, small letters alone, of the pictures that OpenFace takes for frames of a folder (its SequenceCapture::OpenImageSequence)."""

SCALE_SAMPLE = 20
"""Rows from which on a table whose intensities never exceed 1 is taken for one in 0..1."""


_BY_KEY = "SELECT key, cells, photo FROM row WHERE key = ? LIMIT 2"
_BY_SAME = "SELECT key, cells, photo FROM row WHERE same = ? LIMIT 2"


class ActionTable(NamedTuple):
    """Which action units to take, and from where.

    `path` is a CSV file or a folder of them. `units` are the action units wanted (empty: all that the table has). Rows with
    `success` 0 or `confidence` below `min_confidence` say nothing about their photo. `scale` is the largest intensity
    of the table, 5 or 1; None checks that it is 5. `extractor` says what measured them, for the record.
    """

    path: str
    units: tuple[str, ...] = ()
    min_confidence: float = 0.7
    scale: float | None = None
    extractor: str = ""


class _Row(NamedTuple):
    key: str
    values: dict[str, str]
    usable: bool
    confidence: float


class Actions:
    """The rows of an `ActionTable`, in a database beside the conversion's journal so that memory stays bounded.

    After `load`, `columns` names the action units that every table has. The tables of OpenFace that are understood:
    one with a `filename` column (several photos); one a photo (`FaceLandmarkImg`, `FeatureExtraction -f`: the CSV is named after the photo;
    of several faces the most confident counts); one a folder of frames (`FeatureExtraction -fdir`: the CSV is named after the folder
    and `frame` counts its images, of FRAMES, in order of their names, from 1). Layout after OpenFace's wiki, page "Output Format".
    """

    def __init__(self, database: Path) -> None:
        self.columns: tuple[str, ...] = ()
        self.counts: Counter[str] = Counter()
        self._frames: tuple[str, dict[str, int]] = ("", {})
        self._scaled = 1.0
        database.unlink(missing_ok=True)
        self._db = sqlite3.connect(database)
        self._db.executescript("""
            PRAGMA synchronous=OFF;
            CREATE TABLE row(key TEXT PRIMARY KEY, same TEXT, confidence REAL, cells TEXT, photo TEXT) WITHOUT ROWID;
            CREATE INDEX row_same ON row(same);
            CREATE TABLE sequence(base TEXT PRIMARY KEY, last INTEGER) WITHOUT ROWID;
        """)

    def load(self, table: ActionTable) -> None:
        """Read the table(s). Raises ValueError for missing columns, a wrong scale, or tables that do not say what they describe."""
        root = Path(table.path)
        common: set[str] | None = None
        largest, usable, whole = 0.0, 0, 0
        for file in _tables(root):
            base = file.relative_to(root).with_suffix("").as_posix() if root.is_dir() else file.stem
            header, rows = read_table(file)
            found = [unit for unit in AUS if f"{unit}_r" in header]
            if not found:
                raise ValueError(
                    f"`actions` must have columns AU01_r, ... as OpenFace 2 writes with -aus. Received: {file}"
                )
            common = set(found) if common is None else common & set(found)
            for cells in rows:
                row = _row(cells, found, base, table.min_confidence, file)
                numbers = {unit: value for unit, cell in row.values.items() if (value := _number(cell)) is not None}
                if row.usable and numbers:
                    largest, usable = max(largest, *numbers.values()), usable + 1
                    whole += numbers.keys() >= set(table.units)
                self._insert(row, file)
        self._db.commit()
        if common is None:
            raise ValueError(f"`actions` must be a CSV file or a folder with some. Received: {root}, which has none")
        self._choose(table, common, usable, whole)
        self._check_scale(table, largest, usable)

    def _insert(self, row: _Row, file: Path) -> None:
        key = readable(row.key)
        seen = self._db.execute("SELECT confidence FROM row WHERE key = ?", (key,)).fetchone()
        if seen and "\0" not in key:
            raise ValueError(f"`actions` must describe each photo once. Received: {key} twice, again in {file}")
        if seen is None or row.confidence > seen[0]:
            cells = json.dumps(row.values if row.usable else None)
            self._db.execute("REPLACE INTO row VALUES (?, ?, ?, ?, NULL)", (key, same(key), row.confidence, cells))
        base, _, frame = key.partition("\0")
        if frame:
            self._db.execute(
                "INSERT INTO sequence VALUES (?1, ?2) ON CONFLICT DO UPDATE SET last = max(last, ?2)",
                (base, int(frame)),
            )

    def _choose(self, table: ActionTable, common: set[str], usable: int, whole: int) -> None:
        missing = [unit for unit in table.units if unit not in common]
        if missing:
            raise ValueError(
                f"`au` must name action units that the table has ({', '.join(unit for unit in AUS if unit in common)}); "
                f"an absent column is unknown, never zero. Received: {', '.join(missing)}"
            )
        if table.units and usable and not whole:
            raise ValueError(
                f"`au` must name action units that some row of {table.path} has together; ask for fewer. "
                f"Received: {', '.join(table.units)}, of which each row lacks one"
            )
        self.columns = tuple(table.units or (unit for unit in AUS if unit in common))

    def _check_scale(self, table: ActionTable, largest: float, usable: int) -> None:
        if table.scale is None and usable >= SCALE_SAMPLE and largest <= 1.0:
            raise ValueError(
                f"`actions` must hold intensities of 0 to {MAX_INTENSITY:g}; no value of {usable} rows in {table.path} exceeds 1. "
                "Give --au-scale 1 if they are in 0..1 (they are then multiplied), or --au-scale 5 if the faces just are that still. "
                f"Received: at most {largest:g}"
            )
        self._scaled = MAX_INTENSITY / (table.scale or MAX_INTENSITY)

    def join(self, entries: Iterable[Photo | Reject | Note]) -> Iterator[Photo | Reject | Note]:
        """Give each photo the action units of its row; a bad row rejects its photo; photos without a row stay without.

        Notes at the end say how many were joined, had no row, or had a row without a face, and how many rows had no photo. Raises
        ValueError where no photo at all has a row, and for a folder of frames that is not the one that was measured.
        """
        for entry in entries:
            yield self._joined(entry) if isinstance(entry, Photo) else entry
        if self.counts and not self.counts["photos joined"] and not self.counts["photos without a face"]:
            example = self._db.execute("SELECT key FROM row LIMIT 1").fetchone()
            raise ValueError(
                "`actions` must name the data set's photos. Received: a table none of whose rows does; "
                f"its first is {_shown(example[0]) if example else 'missing'!r}"
            )
        unclaimed = self._db.execute("SELECT count(*) FROM row WHERE photo IS NULL")
        self.counts["rows without a photo"] = unclaimed.fetchone()[0]
        yield from (Note(f"action units: {text}", count) for text, count in sorted(self.counts.items()))

    def _joined(self, photo: Photo) -> Photo | Reject:
        stem = os.path.splitext(photo.name)[0]
        keys = [photo.name, os.path.basename(photo.name), f"{stem}\0", f"{os.path.basename(stem)}\0"]
        keys += [f"{base}\0001" for base in (stem, os.path.basename(stem)) if self._last(base) == 1]
        known, cells = self._claim(keys + self._frame_keys(photo), photo)
        if not known:
            self.counts["photos without a row"] += 1
            return photo
        if cells is None:
            self.counts["photos without a face"] += 1
            return photo
        aus = {}
        for unit in self.columns:
            cell = cells[unit].strip()
            if not cell:
                continue
            value = _number(cell)
            if value is None:
                return photo.reject(Reason.NOT_A_NUMBER, f"{unit} is {cell}")
            value *= self._scaled
            if not 0 <= value <= MAX_INTENSITY:
                return photo.reject(Reason.ACTION_UNITS, f"{unit} is {cell}")
            aus[unit] = value
        self.counts["photos joined"] += 1
        return dataclasses.replace(photo, aus=aus or None)

    def _claim(self, keys: Sequence[str], photo: Photo) -> tuple[bool, dict[str, str] | None]:
        """Tell whether one of `keys` has a row, and the cells of the first that has (None: no face in it); a row serves one photo.

        A key that no row has as it is may differ from one by what `same` evens out.
        """
        tries = [*((_BY_KEY, readable(key)) for key in keys), *((_BY_SAME, same(readable(key))) for key in keys)]
        for statement, key in tries:
            rows = self._db.execute(statement, (key,)).fetchall()
            if not rows:
                continue
            found, cells, taken = rows[0]
            if taken is not None or len(rows) > 1:
                others = f"{taken} or {readable(photo.name)}" if taken is not None else readable(photo.name)
                raise ValueError(
                    f"`actions` must tell photos of one name apart, by their paths inside the data set. Received: {_shown(found)}, "
                    f"which could be {others}{', as could ' + _shown(rows[1][0]) if len(rows) > 1 else ''}"
                )
            self._db.execute("UPDATE row SET photo = ? WHERE key = ?", (readable(photo.name), found))
            return True, json.loads(cells)
        return False, None

    def _last(self, base: str) -> int:
        """Return the highest frame of the table named `base`, 0 where there is no such table."""
        row = self._db.execute("SELECT last FROM sequence WHERE base = ?", (readable(base),)).fetchone()
        return int(row[0]) if row else 0

    def _frame_keys(self, photo: Photo) -> list[str]:
        """Return the key of a photo as a frame: the folder that holds it (path or name) and its place among the frames there."""
        folder, name = os.path.split(photo.path)
        bases = [base for base in (os.path.dirname(photo.name), os.path.basename(folder)) if self._last(base)]
        if not bases:
            return []
        if self._frames[0] != folder:
            names = sorted(each.name for each in os.scandir(folder) if os.path.splitext(each.name)[1] in FRAMES)
            self._frames = (folder, {each: number for number, each in enumerate(names, 1)})
            if (last := self._last(bases[0])) != len(names):
                raise ValueError(
                    f"`actions` must be of the folder as it is: frames are counted over its files of {', '.join(FRAMES)} in order of their names. "
                    f"Received: {readable(bases[0])}.csv with frames up to {last} for {len(names)} such files in {readable(folder)}"
                )
        number = self._frames[1].get(name)
        return [f"{bases[0]}\0{number}"] if number else []

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def joined(
    entries: Iterable[Photo | Reject | Note], table: ActionTable, aside: Path
) -> Iterator[Photo | Reject | Note]:
    """Yield what a reader says with the action units of a table joined; its rows are kept in the folder `aside` meanwhile."""
    database = aside / "actions.sqlite"
    try:
        with contextlib.closing(Actions(database)) as actions:
            actions.load(table)
            yield from actions.join(entries)
    finally:
        database.unlink(missing_ok=True)


def _shown(key: str) -> str:
    """Return a row's key as its table has it: a file's name, or that of its table and the frame's number."""
    name, _, frame = key.partition("\0")
    return f"{name} frame {frame}" if frame else name


def _number(cell: str) -> float | None:
    """Return a finite number; None for anything else."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _tables(root: Path) -> Iterator[Path]:
    """Yield the table(s) in order of their names; the names of one folder at a time are held in memory."""
    if not root.is_dir():
        yield root
        return
    for folder, inside, names in os.walk(root):
        inside.sort()
        paths = (Path(folder, name) for name in sorted(names) if name.endswith(".csv"))
        yield from (path for path in paths if path.is_file())


def _row(cells: dict[str, str], units: Sequence[str], base: str, min_confidence: float, file: Path) -> _Row:
    """Return one row of a CSV; the key of a photo's own table ends in NUL, that of a frame holds NUL and its number."""
    if SURPLUS in cells:
        raise ValueError(
            f"`{file}` must have as many cells in each row as in its header, and points in numbers. Received: {', '.join(cells.values())[:200]}"
        )
    if "filename" in cells:
        key = cells["filename"]
    elif "frame" in cells and "face" not in cells:
        frame = _number(cells["frame"])
        if frame is None:
            raise ValueError(f"`{file}` must have whole numbers in its column frame. Received: {cells['frame'][:50]!r}")
        key = f"{base}\0{frame:.0f}"
    else:
        key = base + "\0"
    confidence = _number(cells.get("confidence", "1")) or 0.0
    usable = _number(cells.get("success", "1")) == 1.0 and confidence >= min_confidence
    return _Row(key, {unit: cells[f"{unit}_r"] for unit in units}, usable, confidence)
