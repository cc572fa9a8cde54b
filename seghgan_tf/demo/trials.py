"""The demo's trials: people never trained on, truly drawn at each expression, and how near edits come to that."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seghgan_tf.evaluation.pairs import edit_figures
from seghgan_tf.expressions import AUS, EMOTION_AUS, EMOTIONS, MAX_INTENSITY
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.field import apply_field, grow
from seghgan_tf.pictures import from_pixels

INTENSITY = 3.0
HELD_OUT_SEED = 1_000_003
"""The seed of the held-out people is this plus the demo's; no training seed is near it."""

PHOTO_SIZE = 384
"""Side of the larger photos that the same fields are applied to, in pixels."""

LARGE = 12
"""How many of the people are drawn at `PHOTO_SIZE`."""

FELT = EMOTIONS[1:]
"""The seven emotions, neutral left out."""

Images = NDArray[np.float32]
"""Pixels in [-1, 1]."""


class Trials(NamedTuple):
    """Held-out people at rest, and truly drawn at each of E expressions: the 17 action units alone, then the emotions."""

    asked: NDArray[np.float32]  # (E, 17) in 0..1
    photos: Images  # (people, S, S, 3)
    truths: Images  # (people, E, S, S, 3)
    masks: NDArray[np.uint8]  # (people, S, S)


def asked_expressions() -> NDArray[np.float32]:
    """Return each action unit alone at intensity 3, then the seven emotions, float32 (24, 17) in 0..1."""
    emotions = [[EMOTION_AUS[name].get(au, 0.0) for au in AUS] for name in FELT]
    return np.concatenate([INTENSITY * np.eye(len(AUS)), np.array(emotions)]).astype(np.float32) / np.float32(
        MAX_INTENSITY
    )


def draw_trials(people: int, size: int, seed: int) -> Trials:
    """Draw held-out people at rest and at each expression, `size` px a side; the same people at every size."""
    from tfrecords_tools.drawn_faces import draw_faces, sample_faces

    faces, asked = sample_faces(people, HELD_OUT_SEED + seed), asked_expressions()
    photos, masks = draw_faces(faces, np.zeros((people, len(AUS)), np.float32), size)
    aus = np.float32(MAX_INTENSITY) * asked
    truths = [draw_faces(faces, np.repeat(aus[i : i + 1], people, 0), size)[0] for i in range(len(aus))]
    return Trials(asked, from_pixels(photos), from_pixels(np.stack(truths, 1)), masks)


def fields_of(model: SegHGAN, trials: Trials) -> NDArray[np.float32]:
    """Return the edit field of every person and expression, (people, E, S, S, 6)."""
    import tensorflow as tf

    field = tf.function(lambda image, expression: model.field({"image": image, "expression": expression}))
    count = len(trials.asked)
    return np.stack([field(np.repeat(photo[None], count, 0), trials.asked).numpy() for photo in trials.photos])


def edited_by(trials: Trials, fields: NDArray[np.float32]) -> Images:
    """Apply fields (people, E, s, s, 6) to the trials' photos, at the photos' own size: (people, E, S, S, 3)."""
    size = trials.photos.shape[1]

    def edit(photo: Images, of_person: NDArray[np.float32]) -> Images:
        grown = of_person if of_person.shape[1] == size else grow(of_person, size, size)
        edited: Images = apply_field(np.repeat(photo[None], len(of_person), 0), grown).numpy()
        return np.clip(edited, -1.0, 1.0)

    return np.stack([edit(photo, of_person) for photo, of_person in zip(trials.photos, fields, strict=True)])


def trial_figures(trials: Trials, edited: Images) -> dict[str, Any]:
    """Compare edits (people, E, S, S, 3) with the true pictures: means over action units and over emotions, and each one's."""
    names = (*AUS, *FELT)
    each = {name: edit_figures(trials.photos, edited[:, i], trials.truths[:, i]) for i, name in enumerate(names)}

    def mean(figure: str, over: tuple[str, ...]) -> float:
        return float(np.mean([each[name][figure] for name in over]))

    return {
        "edit_error_ratio": mean("error_ratio", AUS),
        "emotion_error_ratio": mean("error_ratio", FELT),
        "outside_change": mean("outside_change", AUS),
        "per_expression": each,
    }


def large_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Name `trial_figures` of the larger photos apart from those of the model's own size."""
    return {f"{name}_{PHOTO_SIZE}": value for name, value in figures.items()}
