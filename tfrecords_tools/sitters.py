"""The people of the London set as sitters: who has both photos, who lends teeth to whom, and the records that one person gives."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seghgan_tf.data.folder import Tally
from seghgan_tf.data.schema import Face
from seghgan_tf.expressions import EMOTIONS
from seghgan_tf.photos import Rejected
from tfrecords_tools.faces import encode_mask
from tfrecords_tools.images import encode_image
from tfrecords_tools.lessons import Look, lessons
from tfrecords_tools.photo import Photo, Reason, Reject
from tfrecords_tools.portraits import FINE, Sitter, lend_teeth, reduced, sit, turn

MEASURED = ("AU12", "AU25", "AU26")
"""Units of a smile that are taken from a table, as differences to the same person's neutral photo."""


class Sitting(NamedTuple):
    """One person's share of the work: who, whose teeth may be lent, the seed of the lessons, the size of the pictures."""

    sitter: Sitter
    lenders: tuple[Sitter, ...]
    seed: int
    size: int
    jpeg_quality: int


class Made(NamedTuple):
    """What one piece of work gave: faces, the counts of their masks' pixels, what was rejected, and how many photos were not."""

    faces: list[Face]
    pixels: list[int]
    rejected: list[Reject]
    photos: int


def find_sitters(photos: Sequence[Photo]) -> list[Sitter]:
    """Return the people who have a neutral photo with landmarks and a smiling one, both with measured units, in order.

    Raises ValueError where there are none.
    """
    people: dict[str, dict[str, Photo]] = {}
    for photo in photos:
        if photo.aus is not None and photo.subject_id is not None and photo.label is not None:
            people.setdefault(photo.subject_id, {})[EMOTIONS[photo.label]] = photo
    sitters = []
    for subject, own in sorted(people.items()):
        rest, smile = own.get("neutral"), own.get("happy")
        if rest is not None and smile is not None and rest.points is not None:
            risen = _risen(rest.aus or {}, smile.aus or {})
            sitters.append(Sitter(subject, rest.path, smile.path, risen, (rest.name, smile.name)))
    if not sitters:
        raise ValueError(
            "`source` must hold people with a neutral photo, its `.tem` landmarks and a smiling photo, and `actions` the "
            f"units of both. Received: {len(photos)} photos without"
        )
    return sitters


def without_sitter(photos: Sequence[Photo], sitters: Sequence[Sitter]) -> list[Reject]:
    """Return why each photo that none of the sitters has was left out."""
    taken = {path for sitter in sitters for path in (sitter.neutral, sitter.smiling)}
    lonely = "its person must have one neutral photo with landmarks and one smiling, both with measured units"
    unmeasured = "the table of action units has none of it"
    return [
        photo.reject(Reason.EXPRESSION, unmeasured) if photo.aus is None else photo.reject(Reason.PARTNER, lonely)
        for photo in photos
        if photo.path not in taken
    ]


def _risen(rest: Mapping[str, float], smile: Mapping[str, float]) -> dict[str, float]:
    missing = [unit for unit in MEASURED if unit not in rest or unit not in smile]
    if missing:
        raise ValueError(
            f"`actions` must have {', '.join(MEASURED)}, by which smiles are known. Received: a table without {', '.join(missing)}"
        )
    return {unit: round(min(5.0, max(0.0, smile[unit] - rest[unit])), 2) for unit in MEASURED}


def sittings(
    sitters: Sequence[Sitter], splits: Sequence[str], seed: int, size: int, jpeg_quality: int
) -> list[Sitting]:
    """Return each person's work; teeth are lent within a split alone, by those that follow first."""
    work = []
    for number, sitter in enumerate(sitters):
        others = [(number + step) % len(sitters) for step in range(1, len(sitters))]
        lenders = tuple(sitters[other] for other in others if splits[other] == splits[number])
        work.append(Sitting(sitter, lenders, 1000 * seed + number, size, jpeg_quality))
    return work


def make_sitting(work: Sitting) -> Made:
    """Return the pairs of one person: real photos, and true pictures at the units that moved landmarks teach."""
    subject, tally = work.sitter.subject, Tally()
    pairs = lessons(work.seed)
    made: dict[Look, tuple[bytes, str, np.ndarray, dict[str, float]]] = {}
    try:
        rest, smile = sit(work.sitter, work.size)
        teeth = lend_teeth(work.sitter, work.lenders, work.size)
        for look in dict.fromkeys(look for pair in pairs for look in pair):
            picture, mask, units = turn(smile if look.smile else rest, look, teeth)
            small = np.ascontiguousarray(mask[FINE // 2 :: FINE, FINE // 2 :: FINE])
            made[look] = (*encode_image(reduced(picture), work.jpeg_quality), small, units)
    except Rejected as error:
        return Made([], [], [Reject(name, error.reason, error.detail) for name in work.sitter.names], 0)
    faces = []
    for number, (first, second) in enumerate(pairs):
        (image, image_format, mask, units), (target, _, _, target_units) = made[first], made[second]
        tally.add_mask(mask)
        faces.append(Face(
            image_id=f"{subject}-{number:03d}", image=image, image_format=image_format, height=work.size,
            width=work.size, source="london", subject_id=subject, mask=encode_mask(mask), aus=units,
            target_image=target, target_aus=target_units,
        ))  # fmt: skip
    return Made(faces, tally.pixels.tolist(), [], len(work.sitter.names))
