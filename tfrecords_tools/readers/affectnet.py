"""AffectNet: faces from the web with emotion, valence and arousal; the release of 2017 (CSV) and that of 2021 (npy).

Mollahosseini, Hasani and Mahoor 2017, "AffectNet", IEEE Transactions on Affective Computing. Given out on request, so this is
written to its published layout and tried on files made to it. 2017: `training.csv` and `validation.csv` with the columns
subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks (68 places, `x;y;x;y...`), expression, valence,
arousal; photos below `Manually_Annotated_Images` (some archives have `Manually_Annotated/Manually_Annotated_Images`). 2021:
`train_set` and `val_set`, each with `images/N.jpg` (224 x 224 crops) and `annotations/N_exp.npy`, `N_val.npy`, `N_aro.npy`,
`N_lnd.npy`; the arrays hold one number, stored as text in the copies that public loaders handle, so both are read. We
know neither from the owner's files but from published loaders. No test set was given out: `validation` is the owner's.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seghgan_tf.expressions import EMOTIONS
from seghgan_tf.photos import BROKEN
from tfrecords_tools.images import read_file
from tfrecords_tools.photo import Photo, Reason, Reject, Rejected, readable
from tfrecords_tools.tables import SURPLUS, read_table

NOT_EMOTIONS = {8: "none", 9: "uncertain", 10: "no-face"}
"""Values of `expression` that are no emotion; these photos are excluded by name and counted."""

COLUMNS = ("subDirectory_filePath", "expression", "valence", "arousal")
TABLES = {"training.csv": None, "validation.csv": "validation"}
SETS = {"train_set": None, "val_set": "validation"}
PHOTOS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated", ".")
PARTS = ("exp", "val", "aro")
LANDMARKS = 68


class _BadRow(ValueError):  # noqa: N818 - a row, not an error of ours
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_affectnet(folder: Path) -> Iterator[Photo | Reject]:
    """Yield the photos of either release: training first (split left open), then the owner's validation split.

    Raises ValueError for a folder of neither layout.
    """
    folder = Path(folder)
    if any((folder / name).is_file() for name in TABLES):
        return _release_2017(folder)
    if any((folder / name / "annotations").is_dir() for name in SETS):
        return _release_2021(folder)
    raise ValueError(
        f"`source` must hold training.csv and validation.csv (2017) or train_set and val_set (2021). Received: {folder}"
    )


def _release_2017(folder: Path) -> Iterator[Photo | Reject]:
    photos = next((folder / name for name in PHOTOS if (folder / name).is_dir()), folder)
    for table, split in TABLES.items():
        if not (folder / table).is_file():
            continue
        for row in read_table(folder / table, COLUMNS)[1]:
            name = row["subDirectory_filePath"]
            try:
                if not name or os.path.isabs(name) or ".." in Path(name).parts:
                    raise _BadRow(Reason.NAME, "it must name a file inside the folder of photos")
                if SURPLUS in row:
                    raise _BadRow(Reason.ANNOTATION, f"{SURPLUS}: {row[SURPLUS]}")
                places = np.array([float(x) for x in row.get("facial_landmarks", "").split(";") if x.strip()])
                yield _photo(photos / name, name, split, row["expression"], row["valence"], row["arousal"], places)
            except _BadRow as error:
                yield Reject(readable(name), error.reason, str(error))
            except ValueError as error:
                yield Reject(readable(name), Reason.ANNOTATION, str(error))


def _release_2021(folder: Path) -> Iterator[Photo | Reject]:
    for inside, split in SETS.items():
        photos, annotations = folder / inside / "images", folder / inside / "annotations"
        if not photos.is_dir():
            continue
        for name in sorted(os.listdir(photos), key=lambda name: (len(name), name)):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            file = f"{inside}/images/{name}"
            try:
                exp, val, aro = (str(_array(annotations / f"{stem}_{part}.npy").ravel()[0]) for part in PARTS)
                points = annotations / f"{stem}_lnd.npy"
                places = _array(points).astype(np.float64).ravel() if points.exists() else np.zeros(0)
                yield _photo(photos / name, file, split, exp, val, aro, places)
            except _BadRow as error:
                yield Reject(readable(file), error.reason, str(error))
            except Rejected as error:
                yield Reject(readable(file), Reason.ANNOTATION, error.detail)
            except BROKEN as error:
                yield Reject(readable(file), Reason.ANNOTATION, str(error) or type(error).__name__)


def _array(path: Path) -> np.ndarray:
    return np.load(io.BytesIO(read_file(str(path))), allow_pickle=False)


def _photo(
    path: Path, name: str, split: str | None, expression: str, valence: str, arousal: str, places: np.ndarray
) -> Photo | Reject:
    """Return the photo of one annotation, or why it is excluded. Raises _BadRow."""
    try:
        label = int(number) if (number := float(expression)).is_integer() else -1
    except ValueError as error:
        raise _BadRow(Reason.LABEL, f"expression is {expression!r}") from error
    if label in NOT_EMOTIONS:
        return Reject(readable(name), NOT_EMOTIONS[label], "", excluded=True)
    if not 0 <= label < len(EMOTIONS):
        raise _BadRow(Reason.LABEL, f"expression is {expression}; known are 0 to {max(NOT_EMOTIONS)}")
    if not os.path.isfile(path):
        raise _BadRow(Reason.UNREADABLE, "there is no such file")
    return Photo(
        f"affectnet-{readable(os.path.splitext(name)[0])}", str(path), name, split=split, label=label,
        valence=_affect("valence", valence), arousal=_affect("arousal", arousal), points=five_of_68(places),
    )  # fmt: skip


def _affect(what: str, text: str) -> float | None:
    """Return valence or arousal; -2, the data set's mark, and an empty cell are unknown."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise _BadRow(Reason.NOT_A_NUMBER, f"{what} is {text}") from error
    if value == -2.0:
        return None
    if not -1.0 <= value <= 1.0:
        raise _BadRow(Reason.NOT_A_NUMBER if value != value else Reason.OUT_OF_RANGE, f"{what} is {text}")
    return value


def five_of_68(places: np.ndarray) -> tuple[float, ...] | None:
    """Return our five landmarks of the 68 of the iBUG scheme (136 numbers x, y, ...); None for none. Raises _BadRow for others."""
    if not places.size:
        return None
    if places.size != 2 * LANDMARKS or not np.isfinite(places).all():
        raise _BadRow(Reason.ANNOTATION, f"{places.size} landmark numbers, or not finite, where {2 * LANDMARKS} belong")
    grid = places.reshape(LANDMARKS, 2)
    five = (grid[36:42].mean(0), grid[42:48].mean(0), grid[30], grid[48], grid[54])
    return tuple(float(x) for place in five for x in place)
