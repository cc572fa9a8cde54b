"""Any tree of images: `class/photo.jpg`, or a CSV that says what is known of each file."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from seghgan_tf.data.folder import SPLITS
from seghgan_tf.expressions import AUS, EMOTIONS, MAX_INTENSITY
from seghgan_tf.photos import Rejected
from tfrecords_tools.masks import ORDERS, checked
from tfrecords_tools.photo import Photo, Reason, Reject, readable
from tfrecords_tools.readers.files import find, image_files
from tfrecords_tools.tables import SURPLUS, Row, read_table

SYNONYMS = {
    "happiness": "happy", "sadness": "sad", "surprise": "surprised", "fear": "fearful", "disgust": "disgusted", "anger": "angry",
    "contempt": "contemptuous",
}  # fmt: skip
"""Other names in use for the emotions."""

TABLES = ("labels.csv", "metadata.csv", "annotations.csv")
"""Tables that are taken by themselves when they lie in the folder."""

COLUMNS = ("filename", "label", "valence", "arousal", "mask", "subject", "view", "split", "id")


def read_folder(
    folder: Path, table: Path | str | None = None, column: Sequence[str] = (), label_order: str = "g_mask"
) -> Iterator[Photo | Reject]:
    """Yield the photos of a folder.

    With a `table` (or one of TABLES in the folder): one photo a row, in its order; columns are `filename` (relative to the
    folder) and any of `label` (an emotion's name or its number), `AU01_r`... or `AU01`... (0 to 5), `valence`, `arousal`, `mask` (relative,
    class ids in `label_order`), `subject`, `view`, `split`, `id`; an empty cell is unknown; `column` names those that are called otherwise
    ("filename=pth"). Without one, or with "none": every image below the folder, by name; the folder that holds it is its label
    where it is named like an emotion. Raises ValueError for a table without `filename` or with nothing known, and for masks in another order than named.
    """
    if label_order not in ORDERS:
        raise ValueError(f"`label-order` must be one of {', '.join(ORDERS)}. Received: {label_order}")
    named = dict(each.partition("=")[::2] for each in column)
    if not set(named) <= {*COLUMNS, *AUS} or not all(named.values()):
        raise ValueError(
            f"`column` must be one of {', '.join(COLUMNS)}, =, and what the table calls it. Received: {', '.join(column)}"
        )
    folder = Path(folder)
    path = Path(table) if table else next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if path is None or str(table) == "none":
        return _tree(folder)
    header = read_table(path)[0]
    if named.get("filename", "filename") not in header:
        raise ValueError(
            f"`{path}` must have a column filename; say which it is with --column filename=..., or go without the table with "
            f"--table none. Received: {', '.join(header)[:200] or 'an empty file'}"
        )
    return checked(_rows(folder, path, named, label_order))


def emotion_of(text: str) -> int | None:
    """Return the index of an emotion given by name (also "happiness", ...) or number; None for another word.

    >>> emotion_of("Happiness"), emotion_of("3"), emotion_of("hungry")
    (1, 3, None)
    """
    word = text.strip().lower()
    word = SYNONYMS.get(word, word)
    if word in EMOTIONS:
        return EMOTIONS.index(word)
    return int(word) if word in map(str, range(len(EMOTIONS))) else None


def _tree(folder: Path) -> Iterator[Photo | Reject]:
    for entry in image_files(folder):
        if isinstance(entry, Reject):
            yield entry
            continue
        inside = os.path.basename(os.path.dirname(entry))
        label = None if inside.isdecimal() else emotion_of(inside)
        yield Photo(readable(entry), str(folder / entry), entry, label=label)


def _rows(folder: Path, table: Path, named: dict[str, str], order: str) -> Iterator[Photo | Reject]:
    names, rows = read_table(table, ("filename",), named)
    units = {unit: name for name in names if (unit := name.removesuffix("_r").upper()) in AUS}
    for row in rows:
        try:
            yield _photo(folder, row, units, order)
        except Rejected as error:
            path = str(folder / find(folder, row["filename"])) if row["filename"] else ""
            yield Reject(readable(row["filename"]), error.reason, error.detail, path=path)


def _photo(folder: Path, row: Row, units: dict[str, str], order: str) -> Photo:
    said = row["filename"]
    if SURPLUS in row:
        raise Rejected(Reason.ANNOTATION, f"{SURPLUS}: {row[SURPLUS]}")
    if not said or os.path.isabs(said) or ".." in Path(said).parts:
        raise Rejected(Reason.NAME, "filename must be a path inside the folder")
    name = find(folder, said)
    if not os.path.lexists(folder / name):
        raise Rejected(Reason.NO_FILE, f"there is no {readable(said)}")
    label = None
    if text := row.get("label", "").strip():
        label = emotion_of(text)
        if label is None:
            raise Rejected(Reason.LABEL, f"{text} is none of {', '.join(EMOTIONS)}")
    split = row.get("split", "").strip() or None
    if split not in (None, *SPLITS):
        raise Rejected(Reason.ANNOTATION, f"split is {split}; known are {', '.join(SPLITS)}")
    mask = row.get("mask", "").strip()
    if mask and not (folder / (mask := find(folder, mask))).is_file():
        raise Rejected(Reason.MASK_MISSING, f"there is no {readable(mask)}")
    aus = {unit: _value(row, column, 0.0, MAX_INTENSITY, Reason.ACTION_UNITS) for unit, column in units.items()}
    known = {unit: value for unit, value in aus.items() if value is not None}
    return Photo(
        readable(row.get("id", "").strip() or name), str(folder / name), name,
        subject_id=readable(row.get("subject", "").strip()) or None,
        view=readable(row.get("view", "").strip()) or None,
        split=split, mask=str(folder / mask) if mask else None, mask_order=order, aus=known or None, label=label,
        valence=_value(row, "valence", -1.0, 1.0, Reason.OUT_OF_RANGE), arousal=_value(row, "arousal", -1.0, 1.0, Reason.OUT_OF_RANGE),
    )  # fmt: skip


def _value(row: Row, column: str, low: float, high: float, reason: Reason) -> float | None:
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise Rejected(Reason.NOT_A_NUMBER, f"{column} is {text}") from error
    if not math.isfinite(value):
        raise Rejected(Reason.NOT_A_NUMBER, f"{column} is {text}")
    if not low <= value <= high:
        raise Rejected(reason, f"{column} is {text}; it may be {low:g} to {high:g}")
    return value
