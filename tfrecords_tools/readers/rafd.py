"""RaFD, the Radboud Faces Database: 67 people, eight emotions, three gazes, five cameras; everything is in the file name.

Langner et al. 2010, "Presentation and validation of the Radboud Faces Database", Cognition and Emotion 24(8). Names are
as in `Rafd090_01_Caucasian_female_angry_frontal.jpg`: camera angle (090 is frontal), number of the person, group, gender,
emotion, gaze. The set is 8,040 photos of 681 x 1024 pixels, given out on request; we know the names from the examples that are
published, and tried this on files made to them.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seghgan_tf.expressions import EMOTIONS
from tfrecords_tools.photo import Photo, Reason, Reject, readable
from tfrecords_tools.readers.files import image_files

CAMERAS = (0, 45, 90, 135, 180)
GAZES = ("frontal", "left", "right")
GROUPS = ("Caucasian", "Moroccan", "Kid")
GENDERS = ("female", "male")

_NAME = re.compile(
    r"Rafd(?P<camera>[0-9]{3})_(?P<person>[0-9]{2})_(?P<group>[a-z]+)_(?P<gender>[a-z]+)_(?P<emotion>[a-z]+)_(?P<gaze>[a-z]+)",
    re.IGNORECASE,
)


class RafdName(NamedTuple):
    """What a file name of RaFD says."""

    camera: int
    person: str
    group: str
    gender: str
    emotion: str
    gaze: str


def parse_rafd_name(name: str) -> RafdName:
    """Parse a file name without its ending. Raises ValueError for one that is not of the data set.

    >>> parse_rafd_name("Rafd090_01_Caucasian_female_angry_frontal").emotion
    'angry'
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError("it is not like Rafd090_01_Caucasian_female_angry_frontal.jpg")
    parts = RafdName(
        int(found["camera"]), found["person"], found["group"].capitalize(), found["gender"].lower(), found["emotion"].lower(),
        found["gaze"].lower(),
    )  # fmt: skip
    for value, known in ((parts.camera, CAMERAS), (parts.group, GROUPS), (parts.gender, GENDERS), (parts.gaze, GAZES)):
        if value not in known:
            raise ValueError(f"{value} is none of {', '.join(map(str, known))}")
    return parts


def read_rafd(folder: Path, camera: Sequence[int] = CAMERAS, gaze: Sequence[str] = GAZES) -> Iterator[Photo | Reject]:
    """Yield the photos below a folder, in order of their names; other cameras and gazes than wanted are excluded.

    Raises ValueError for cameras or gazes that the data set does not have.
    """
    for what, wanted, known in (("camera", camera, CAMERAS), ("gaze", gaze, GAZES)):
        if not set(wanted) <= set(known):
            raise ValueError(
                f"`{what}` must be of {', '.join(map(str, known))}. Received: {', '.join(map(str, wanted))}"
            )
    return _photos(Path(folder), set(camera), set(gaze))


def _photos(folder: Path, cameras: set[int], gazes: set[str]) -> Iterator[Photo | Reject]:
    for entry in image_files(folder):
        if isinstance(entry, Reject):
            yield entry
            continue
        stem = os.path.splitext(os.path.basename(entry))[0]
        photo = Photo(f"rafd-{stem}", str(folder / entry), entry)
        try:
            parts = parse_rafd_name(stem)
        except ValueError as error:
            yield photo.reject(Reason.NAME, str(error))
            continue
        if parts.emotion not in EMOTIONS:
            yield photo.reject(Reason.LABEL, f"{parts.emotion} is none of {', '.join(EMOTIONS)}")
        elif parts.camera not in cameras or parts.gaze not in gazes:
            why = f"gaze {parts.gaze}" if parts.camera in cameras else f"camera {parts.camera:03d}"
            yield Reject(readable(entry), why, excluded=True, path=photo.path)
        else:
            yield dataclasses.replace(
                photo, subject_id=f"rafd-{parts.person}", view=f"{parts.camera:03d}-{parts.gaze}", label=EMOTIONS.index(parts.emotion)
            )  # fmt: skip
