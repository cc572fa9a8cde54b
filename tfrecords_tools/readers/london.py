"""The Face Research Lab London Set: 102 people, neutral and smiling, 1350 x 1350, with hand-placed landmarks.

DeBruine and Jones 2017, figshare, doi 10.6084/m9.figshare.5047666, CC BY 4.0. A photo is `neutral_front/NNN_03.jpg` or
`smiling_front/NNN_08.jpg`; `NNN_03.tem` beside it holds 189 landmarks in WebMorph's order, of which we take the two pupils (0
and 1), the tip of the nose (between 54 and 60) and the corners of the mouth (87 and 93): read off the pictures, as
the set's own page does not name them. Landmarks are in pixels of the photo as published; copies of another size are scaled.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seghgan_tf.expressions import EMOTIONS
from seghgan_tf.photos import Rejected
from tfrecords_tools.images import read_size
from tfrecords_tools.photo import LACKING, Note, Photo, Reason, Reject, readable
from tfrecords_tools.readers.files import is_picture
from tfrecords_tools.tables import read_table

FOLDERS = {"neutral_front": "neutral", "smiling_front": "happy"}
PUBLISHED_SIDE = 1350
_NAME = re.compile(r"([0-9]+)_[0-9]+")


def read_london(folder: Path) -> Iterator[Photo | Reject | Note]:
    """Yield the frontal photos: neutral ones, then smiling ones (label "happy"), each with its person; and how many have no landmarks.

    Raises ValueError for a folder without `neutral_front` and `smiling_front`, or an information table without `face_id`.
    """
    folder = Path(folder)
    present = [name for name in FOLDERS if (folder / name).is_dir()]
    if not present:
        raise ValueError(f"`source` must hold {' and '.join(FOLDERS)}. Received: {folder}")
    people, lacking = _people(folder), 0
    for inside in present:
        for name in sorted(os.listdir(folder / inside)):
            stem, path = os.path.splitext(name)[0], folder / inside / name
            if not is_picture(os.fspath(path)):
                continue
            photo, found = Photo(f"london-{stem}", str(path), f"{inside}/{name}"), _NAME.fullmatch(stem)
            if not found or (people and found[1] not in people):
                yield photo.reject(Reason.NAME, "it names no person of the set, as 001_03.jpg does")
                continue
            try:
                points = read_tem(path)
            except Rejected:
                points = None  # the photo itself is broken: converting it tells how
            except (ValueError, OSError) as error:
                yield Reject(f"{inside}/{readable(stem)}.tem", Reason.ANNOTATION, str(error), path=str(path))
                continue
            label = EMOTIONS.index(FOLDERS[inside])
            lacking += not path.with_suffix(".tem").is_file()
            yield dataclasses.replace(photo, subject_id=f"london-{found[1]}", label=label, points=points)
    if lacking:
        yield Note(LACKING, lacking)


def read_tem(photo: Path) -> tuple[float, ...] | None:
    """Return the five landmarks of the `.tem` file beside a photo, in its pixels; None where there is no such file.

    Raises ValueError for a file without 189 places, Rejected for a photo whose size cannot be read.
    """
    if not photo.with_suffix(".tem").is_file():
        return None
    places = read_points(photo)
    five = (places[0], places[1], (places[54] + places[60]) / 2, places[87], places[93])
    return tuple(float(x) for place in five for x in place)


def read_points(photo: Path) -> NDArray[np.float64]:
    """Return all 189 landmarks (x, y) of the `.tem` file beside a photo, in its pixels.

    Raises ValueError for a file without 189 places, OSError for none, Rejected for a photo whose size cannot be read.
    """
    lines = photo.with_suffix(".tem").read_text(encoding="utf-8").split("\n")
    places = [tuple(map(float, line.split())) for line in lines[1:190]]
    if lines[0].strip() != "189" or len(places) != 189 or any(len(place) != 2 for place in places):
        raise ValueError("it does not hold 189 places x y")
    points = np.array(places, np.float64)
    if not np.isfinite(points).all():
        raise ValueError("a place is not finite")
    return points * (read_size(str(photo))[0] / PUBLISHED_SIDE)


def _people(folder: Path) -> set[str]:
    table = next(iter(sorted(folder.glob("london*info.csv"))), None)
    if table is None:
        return set()
    return {row["face_id"].removeprefix("X") for row in read_table(table, ("face_id",))[1]}
