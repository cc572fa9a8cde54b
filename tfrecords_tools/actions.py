"""Action units: OpenFace 2's CSV files, checked, kept on disk, and joined to photos by name."""

import json
import math
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seghgan_tf.expressions import AUS, MAX_INTENSITY
from seghgan_tf.photos import SUFFIXES
from tfrecords_tools.photo import Photo, Reason, Reject, readable
from tfrecords_tools.tables import SURPLUS, read_table

SCALE_SAMPLE = 20
"""Rows from which on a table whose intensities never exceed 1 is taken for one in 0..1."""


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
    values: list[str]
    usable: bool
    confidence: float


class Actions:
    """The rows of an `ActionTable`, in a database beside the conversion's journal so that memory stays bounded.

    After `load`, `columns` names the action units that every row has. The tables of OpenFace that are understood:
    one with a `filename` column (several photos); one a photo (`FaceLandmarkImg`: the CSV is named after the photo; of several
    faces the most confident counts); one a folder of frames (`FeatureExtraction -fdir`: the CSV is named after the folder
    and `frame` counts its images in order of their names, from 1). Layout after OpenFace's wiki, page "Output Format".
    """

    def __init__(self, database: Path) -> None:
        self.columns: tuple[str, ...] = ()
        self.counts: Counter[str] = Counter()
        self._frames: tuple[str, dict[str, int]] = ("", {})
        self._sequences = False
        self._scaled = 1.0
        database.unlink(missing_ok=True)
        self._db = sqlite3.connect(database)
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE row(key TEXT PRIMARY KEY, confidence REAL, cells TEXT, photo TEXT) WITHOUT ROWID"
        )

    def load(self, table: ActionTable) -> None:
        """Read the table(s). Raises ValueError for missing columns, a wrong scale, or tables that do not say what they describe."""
        root = Path(table.path)
        common: set[str] | None = None
        largest, usable = 0.0, 0
        for file in _tables(root):
            base = file.relative_to(root).with_suffix("").as_posix() if root.is_dir() else file.stem
            header, rows = read_table(file)
            found = [unit for unit in AUS if f"{unit}_r" in header]
            if not found:
                raise ValueError(
                    f"`actions` must have columns AU01_r, ... as OpenFace 2 writes with -aus. Received: {file}"
                )
            self._sequences = self._sequences or ("frame" in header and "filename" not in header)
            common = set(found) if common is None else common & set(found)
            for cells in rows:
                row = _row(cells, found, base, table.min_confidence, file)
                numbers = [value for cell in row.values if (value := _number(cell)) is not None]
                if row.usable and numbers:
                    largest, usable = max(largest, *numbers), usable + 1
                self._insert(row, found, file)
        self._db.commit()
        if common is None:
            raise ValueError(f"`actions` must be a CSV file or a folder with some. Received: {root}, which has none")
        self._choose(table, common)
        self._check_scale(table, largest, usable)

    def _insert(self, row: _Row, units: Sequence[str], file: Path) -> None:
        cells = dict(zip(units, row.values, strict=True)) if row.usable else None
        key = readable(row.key)
        seen = self._db.execute("SELECT confidence FROM row WHERE key = ?", (key,)).fetchone()
        if seen and "\0" not in key:
            raise ValueError(f"`actions` must describe each photo once. Received: {key} twice, again in {file}")
        if seen is None or row.confidence > seen[0]:
            self._db.execute("REPLACE INTO row VALUES (?, ?, ?, NULL)", (key, row.confidence, json.dumps(cells)))

    def _choose(self, table: ActionTable, common: set[str]) -> None:
        missing = [unit for unit in table.units if unit not in common]
        if missing:
            raise ValueError(
                f"`au` must name action units that the table has ({', '.join(unit for unit in AUS if unit in common)}); "
                f"an absent column is unknown, never zero. Received: {', '.join(missing)}"
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

    def join(self, entries: Iterable[Photo | Reject]) -> Iterator[Photo | Reject]:
        """Give each photo the action units of its row; a bad row rejects its photo; photos without a row stay without.

        `counts` then holds how many were joined, had no row, or had a row without a face.
        """
        for entry in entries:
            yield self._joined(entry) if isinstance(entry, Photo) else entry

    def _joined(self, photo: Photo) -> Photo | Reject:
        stem = os.path.splitext(photo.name)[0]
        keys = [photo.name, os.path.basename(photo.name), f"{stem}\0", f"{os.path.basename(stem)}\0"]
        cells, known = self._claim(keys + (self._frame_keys(photo) if self._sequences else []), photo)
        if not known:
            self.counts["without a row"] += 1
            return photo
        if cells is None:
            self.counts["without a face"] += 1
            return photo
        aus = {}
        for unit in self.columns:
            cell = cells[unit].strip()
            if not cell:
                continue
            value = _number(cell)
            if value is None:
                return Reject(readable(photo.name), Reason.NOT_A_NUMBER, f"{unit} is {cell}")
            value *= self._scaled
            if not 0 <= value <= MAX_INTENSITY:
                return Reject(readable(photo.name), Reason.ACTION_UNITS, f"{unit} is {cell}")
            aus[unit] = value
        self.counts["joined"] += 1
        return _with_aus(photo, aus)

    def _claim(self, keys: Sequence[str], photo: Photo) -> tuple[dict[str, str] | None, bool]:
        """Return the cells of the first of `keys` that has a row (None: no face in it), and whether one has; a row serves one photo."""
        for key in map(readable, keys):
            row = self._db.execute("SELECT cells, photo FROM row WHERE key = ?", (key,)).fetchone()
            if row is None:
                continue
            if row[1] is not None:
                raise ValueError(
                    f"`actions` must tell photos of one name apart, by their paths inside the data set. Received: {_shown(key)}, "
                    f"which could be {row[1]} or {readable(photo.name)}"
                )
            self._db.execute("UPDATE row SET photo = ? WHERE key = ?", (readable(photo.name), key))
            return json.loads(row[0]), True
        return None, False

    def _frame_keys(self, photo: Photo) -> list[str]:
        """Return the keys of a photo as a frame: the folder that holds it (path or name) and its place among the images there."""
        folder, name = os.path.split(photo.path)
        if self._frames[0] != folder:
            names = sorted(each.name for each in os.scandir(folder) if each.name.lower().endswith(SUFFIXES))
            self._frames = (folder, {each: number for number, each in enumerate(names, 1)})
        number = self._frames[1].get(name, 0)
        return [f"{os.path.dirname(photo.name)}\0{number}", f"{os.path.basename(folder)}\0{number}"]

    def check_joined(self, table: ActionTable) -> None:
        """Raise ValueError where no photo at all was found in the table."""
        if self.counts and not self.counts["joined"] and not self.counts["without a face"]:
            example = self._db.execute("SELECT key FROM row LIMIT 1").fetchone()
            raise ValueError(
                f"`actions` must name the data set's photos. Received: {table.path}, none of whose rows does; "
                f"its first is {_shown(example[0]) if example else 'missing'!r}"
            )

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def _shown(key: str) -> str:
    """Return a row's key as its table has it: a file's name, or that of its table and the frame's number."""
    name, _, frame = key.partition("\0")
    return f"{name} frame {frame}" if frame else name


def _with_aus(photo: Photo, aus: dict[str, float]) -> Photo:
    return Photo(**{**vars(photo), "aus": aus or None})


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
    return _Row(key, [cells[f"{unit}_r"] for unit in units], usable, confidence)
