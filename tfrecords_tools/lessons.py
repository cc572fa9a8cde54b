"""Lessons: which expressions a person's photos are turned into, and which pairs of these become records."""

import random
from typing import NamedTuple

from seghgan_tf.expressions import EMOTION_AUS

TAUGHT = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26", "AU45",
)  # fmt: skip
"""Units that are taught by moving landmarks: all but the smile, which photos show."""
UPPER = (
    ("AU01",), ("AU02",), ("AU01", "AU02"), ("AU04",), ("AU05",), ("AU45",), ("AU01", "AU04"), ("AU07",), ("AU01", "AU02", "AU05"),
)  # fmt: skip
LOWER = ("AU10", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26")
EMOTIONS = ("sad", "surprised", "fearful", "disgusted", "angry")
"""Emotions whose units are all taught."""

Units = tuple[tuple[str, float], ...]
"""Action units with their intensities 0..5."""


class Look(NamedTuple):
    """A picture of a person: the photo at rest or the one with a smile, turned into `units`."""

    smile: bool
    units: Units = ()


REST, SMILE = Look(False), Look(True)


def lessons(seed: int) -> list[tuple[Look, Look]]:
    """Return the pairs (photo, true edit) that one person gives; the same seed gives the same pairs.

    >>> len(lessons(1)) == len(lessons(2)), lessons(1) == lessons(1)
    (True, True)
    """
    chance = random.Random(seed)
    pairs = [(REST, SMILE)] * 32 + [(SMILE, REST)] * 24
    looks = [Look(False, units) for units in _units(chance)]
    pairs += [(look, look) for look in (*[REST, SMILE] * 10, *looks[::3])]  # what shows already stays as it is
    for look in looks:
        kind = chance.choice(("back", "back", "back", "back", "other", "other", "other", "smile", "smile"))
        second = {"back": REST, "other": chance.choice(looks), "smile": SMILE}[kind]
        pairs += [(REST, look), (SMILE, look), (look, second)]
    for names in (("AU45",), *(chance.choice(UPPER) for _ in range(4))):
        look = Look(True, tuple((name, chance.choice((3.0, 4.0, 5.0))) for name in names))
        pairs += [(REST, look), (SMILE, look), (look, chance.choice((REST, SMILE)))]
    return pairs


def _units(chance: random.Random) -> list[Units]:
    """Draw what a face at rest is turned into: each unit alone, those that matter most again, emotions, and mixtures."""
    alone: list[Units] = [((name, chance.choice((2.0, 3.0, 4.0, 5.0))),) for name in TAUGHT]
    strong, slight = chance.choice((4.0, 5.0)), chance.choice((1.0, 1.5, 2.0))
    again: list[Units] = [
        (("AU01", strong), ("AU02", strong)), (("AU04", 5.0),), (("AU45", 5.0),), (("AU25", slight),),
        (("AU25", chance.choice((1.0, 2.0, 3.0))), ("AU26", chance.choice((1.0, 2.0, 3.0, 4.0)))),
    ]  # fmt: skip
    scale = {name: chance.choice((0.7, 1.0, 1.0)) for name in EMOTIONS}
    moods: list[Units] = [
        tuple((unit, value * scale[name]) for unit, value in EMOTION_AUS[name].items()) for name in EMOTIONS
    ]
    mixed: list[Units] = []
    for _ in range(5):
        names = (*chance.choice(UPPER), chance.choice(LOWER))
        mixed.append(tuple((name, chance.choice((2.0, 3.0, 4.0, 5.0))) for name in names))
    return [*alone, *again, *moods, *mixed]
