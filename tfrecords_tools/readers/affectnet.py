"""AffectNet: faces from the web with emotion, valence and arousal; the release of 2017 (CSV) and that of 2021 (npy).

Mollahosseini, Hasani and Mahoor 2017, "AffectNet", IEEE Transactions on Affective Computing. Given out on request, so this is
written to its published layout and tried on files made to it. 2017: `training.csv` and `validation.csv` with the columns
subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks (68 places, `x;y;x;y...`), expression, valence,
arousal, some unpacked into `Manually_Annotated_file_lists` and some validation.csv without the line of their names; photos below
`Manually_Annotated_Images` (some archives have `Manually_Annotated/Manually_Annotated_Images`). 2021:
`train_set` and `val_set`, each with `images/N.jpg` (224 x 224 crops) and `annotations/N_exp.npy`, `N_val.npy`, `N_aro.npy`,
`N_lnd.npy`; the arrays hold one number, stored as text in the copies that public loaders handle, so both are read. We
know neither from the owner's files but from published loaders. No test set was given out: `validation` is the owner's.
"""

import dataclasses
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seghgan_tf.expressions import EMOTIONS
from seghgan_tf.photos import BROKEN, Rejected
from tfrecords_tools.images import read_file
from tfrecords_tools.photo import LACKING, Note, Photo, Reason, Reject, readable
from tfrecords_tools.readers.files import find, is_picture
from tfrecords_tools.tables import SURPLUS, Row, read_table

NOT_EMOTIONS = {8: "none", 9: "uncertain", 10: "no-face"}
"""Values of `expression` that are no emotion; these photos are excluded by name and counted."""

BOX = ("face_x", "face_y", "face_width", "face_height")
COLUMNS = ("subDirectory_filePath", *BOX, "facial_landmarks", "expression", "valence", "arousal")
NEEDED = ("subDirectory_filePath", "expression", "valence", "arousal")
TABLES = {"training.csv": None, "validation.csv": "validation"}
LISTS = (".", "Manually_Annotated_file_lists")
AUTOMATIC = "automatically_annotated.csv"
SETS = {"train_set": None, "val_set": "validation"}
PHOTOS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated", ".")
PARTS = ("exp", "val", "aro")
LANDMARKS = 68


def read_affectnet(folder: Path) -> Iterator[Photo | Reject | Note]:
    """Yield the photos of either release: training first (split left open), then the owner's validation split.

    Raises ValueError for a folder of neither layout, or with the automatic annotations alone.
    """
    folder = Path(folder)
    lists = [folder / inside for inside in LISTS]
    tables = {
        path: split for name, split in TABLES.items() for path in (each / name for each in lists) if path.is_file()
    }
    automatic = any((each / AUTOMATIC).is_file() for each in lists)
    if tables:
        return _counted(_release_2017(folder, tables, automatic))
    if any((folder / name / "annotations").is_dir() for name in SETS):
        return _counted(_release_2021(folder))
    raise ValueError(
        "`source` must hold training.csv and validation.csv (2017) or train_set and val_set (2021). "
        f"Received: {folder}{f', whose {AUTOMATIC} is not supported: its labels are guesses of a network' if automatic else ''}"
    )


def _counted(entries: Iterator[Photo | Reject | Note]) -> Iterator[Photo | Reject | Note]:
    """Yield entries, and how many photos have no landmarks."""
    lacking = 0
    for entry in entries:
        lacking += isinstance(entry, Photo) and entry.points is None
        yield entry
    if lacking:
        yield Note(LACKING, lacking)


def _release_2017(folder: Path, tables: dict[Path, str | None], automatic: bool) -> Iterator[Photo | Reject | Note]:
    photos = next((folder / name for name in PHOTOS if (folder / name).is_dir()), folder)
    if automatic:
        yield Note(f"{AUTOMATIC}: not supported, left out", 1)
    for table, split in tables.items():
        for row in read_table(table, NEEDED, headless=COLUMNS)[1]:
            name = row["subDirectory_filePath"]
            try:
                if not name or os.path.isabs(name) or ".." in Path(name).parts:
                    raise Rejected(Reason.NAME, "it must name a file inside the folder of photos")
                if SURPLUS in row:
                    raise Rejected(Reason.ANNOTATION, f"{SURPLUS}: {row[SURPLUS]}")
                name = find(photos, name)
                places = np.array([float(x) for x in row.get("facial_landmarks", "").split(";") if x.strip()])
                photo = Photo("", str(photos / name), name, split=split, points=five_of_68(places), box=_box(row))
                yield _labelled(photo, row["expression"], row["valence"], row["arousal"])
            except Rejected as error:
                yield Reject(readable(name), error.reason, error.detail, path=str(photos / name))
            except ValueError as error:
                yield Reject(readable(name), Reason.ANNOTATION, str(error), path=str(photos / name))


def _box(row: Row) -> tuple[float, ...] | None:
    """Return where a row says the face is; None where it does not. Raises Rejected for what is no box."""
    cells = [row.get(name, "").strip() for name in BOX]
    if not any(cells):
        return None
    box = tuple(map(float, cells))
    if not all(map(math.isfinite, box)) or min(box[2:]) <= 0:
        raise Rejected(Reason.ANNOTATION, f"its box of the face is {', '.join(cells)}")
    return box


def _release_2021(folder: Path) -> Iterator[Photo | Reject | Note]:
    for inside, split in SETS.items():
        photos, annotations = folder / inside / "images", folder / inside / "annotations"
        if not photos.is_dir():
            continue
        for name in sorted(os.listdir(photos), key=lambda name: (len(name), name)):
            path = photos / name
            if not is_picture(os.fspath(path)):
                continue
            file = f"{inside}/images/{name}"
            try:
                stem = os.path.splitext(name)[0]
                exp, val, aro = (str(_array(annotations / f"{stem}_{part}.npy").ravel()[0]) for part in PARTS)
                points = annotations / f"{stem}_lnd.npy"
                places = _array(points).astype(np.float64).ravel() if points.exists() else np.zeros(0)
                yield _labelled(Photo("", str(path), file, split=split, points=five_of_68(places)), exp, val, aro)
            except Rejected as error:
                yield Reject(readable(file), error.reason, error.detail, path=str(path))
            except BROKEN as error:
                yield Reject(readable(file), Reason.ANNOTATION, str(error) or type(error).__name__, path=str(path))


def _array(path: Path) -> np.ndarray:
    if not path.exists():
        raise Rejected(Reason.ANNOTATION, f"there is no {readable(path.name)}")
    try:
        return np.load(io.BytesIO(read_file(str(path))), allow_pickle=False)
    except Rejected as error:
        raise Rejected(Reason.ANNOTATION, f"{readable(path.name)}: {error.detail}") from error


def _labelled(photo: Photo, expression: str, valence: str, arousal: str) -> Photo | Reject:
    """Return a photo with what one annotation says, or why it is excluded. Raises Rejected."""
    try:
        label = int(number) if (number := float(expression)).is_integer() else -1
    except ValueError as error:
        raise Rejected(Reason.LABEL, f"expression is {expression!r}") from error
    if label in NOT_EMOTIONS:
        return Reject(readable(photo.name), NOT_EMOTIONS[label], excluded=True, path=photo.path)
    if not 0 <= label < len(EMOTIONS):
        raise Rejected(Reason.LABEL, f"expression is {expression}; known are 0 to {max(NOT_EMOTIONS)}")
    if not os.path.isfile(photo.path):
        raise Rejected(Reason.NO_FILE, f"there is no {readable(photo.name)}")
    return dataclasses.replace(
        photo, image_id=f"affectnet-{readable(os.path.splitext(photo.name)[0])}", label=label,
        valence=_affect("valence", valence), arousal=_affect("arousal", arousal),
    )  # fmt: skip


def _affect(what: str, text: str) -> float | None:
    """Return valence or arousal; -2, the data set's mark, and an empty cell are unknown."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise Rejected(Reason.NOT_A_NUMBER, f"{what} is {text}") from error
    if value == -2.0:
        return None
    if not -1.0 <= value <= 1.0:
        raise Rejected(Reason.NOT_A_NUMBER if value != value else Reason.OUT_OF_RANGE, f"{what} is {text}")
    return value


def five_of_68(places: np.ndarray) -> tuple[float, ...] | None:
    """Return our five landmarks of the 68 of the iBUG scheme (136 numbers x, y, ...); None for none. Raises Rejected for others."""
    if not places.size:
        return None
    if places.size != 2 * LANDMARKS or not np.isfinite(places).all():
        raise Rejected(
            Reason.ANNOTATION, f"{places.size} landmark numbers, or not finite, where {2 * LANDMARKS} belong"
        )
    grid = places.reshape(LANDMARKS, 2)
    five = (grid[36:42].mean(0), grid[42:48].mean(0), grid[30], grid[48], grid[54])
    return tuple(float(x) for place in five for x in place)
