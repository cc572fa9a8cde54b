"""Who is drawn: the parameters of a face apart from its expression, and how they are sampled."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from seghgan_tf.expressions import AUS, EMOTION_AUS, EMOTIONS, MAX_INTENSITY

HAIR_STYLES = ("bald", "buzz", "short", "fringe", "quiff", "curls", "bob", "long", "waves", "bun", "receding")
"""Hair styles, by the index that `Faces.hair_style` holds."""

SKIN = ((250, 222, 202), (240, 199, 170), (219, 167, 131), (178, 122, 86), (128, 82, 56), (88, 56, 41))
HAIR = ((24, 20, 20), (48, 33, 25), (84, 55, 35), (122, 82, 48), (140, 66, 34), (186, 142, 84), (218, 188, 136))
IRIS = ((74, 46, 26), (96, 62, 32), (112, 96, 52), (84, 118, 78), (86, 122, 156), (112, 134, 148))


class Faces(SimpleNamespace):
    """Parameters of N people, named as in `sample_faces`: arrays of shape (N,) or, for colours (sRGB 0..1), (N, 3).

    Lengths are fractions of the image's side; shape parameters without a unit are near 0, positive for "more".
    Example: `faces[2:4]`, `faces.take([0, 5])` and `len(faces)` work as on a list.
    """

    def __len__(self) -> int:
        return len(self.seed)

    def __getitem__(self, part: slice) -> "Faces":
        return self.take(part)

    def take(self, indices: Any) -> "Faces":
        """Return the faces at `indices` (a slice, a list or an integer array), in that order."""
        return Faces(**{name: values[indices] for name, values in vars(self).items()})


def _colour(stops: Any, position: np.ndarray) -> np.ndarray:
    """Interpolate sRGB stops (0..255) at positions 0..1; returns (N, 3) in 0..1."""
    table = np.asarray(stops, np.float32) / 255
    at = np.clip(position, 0, 1) * (len(table) - 1)
    low = np.minimum(at.astype(int), len(table) - 2)
    return table[low] + (at - low)[:, None] * (table[low + 1] - table[low])


def _hues(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Turn hue, saturation and value (each (N,), 0..1) into sRGB (N, 3)."""
    wheel = np.abs((hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return value[:, None] * (1 - saturation[:, None] * (1 - np.clip(wheel, 0, 1)))


def sample_faces(count: int, seed: int, start: int = 0) -> Faces:
    """Draw the people `start` to `count` - 1; person i depends on (`seed`, i) alone, not on `count`.

    Raises ValueError where `count` or `seed` is negative.

    >>> len(sample_faces(3, seed=1)[1:])
    2
    """
    if count < 0 or seed < 0:
        raise ValueError(f"`count` and `seed` must be at least 0. Received: {count} and {seed}")
    number = max(count - start, 0)
    uniform, normal, seeds = np.empty((64, number)), np.empty((48, number)), np.empty(number, np.uint64)
    for i in range(number):
        rng = np.random.default_rng((seed, start + i))
        uniform[:, i], normal[:, i], seeds[i] = rng.random(64), rng.standard_normal(48), rng.integers(2**63)
    normal = np.clip(normal, -2.0, 2.0)
    u, n = iter(uniform), iter(normal)
    values = {"seed": seeds, **_head(u, n)}
    values |= _parts(u, n, values) | _worn(u, values) | _scene(u, n)
    return Faces(
        **{name: value if value.dtype.kind in "iu" else value.astype(np.float32) for name, value in values.items()}
    )


def _head(u: Any, n: Any) -> dict[str, np.ndarray]:
    """Sample skin, head shape and hair; `manly` (0..1) ties traits together and is not kept."""
    manly = np.clip(0.5 + 0.38 * next(n) + 0.25 * (next(u) - 0.5), 0, 1)
    tone, age = next(u), next(u) ** 1.6
    skin = _colour(SKIN, tone**1.2) * (1 + 0.025 * np.stack([0.6 * (warm := next(n)), 0.3 * next(n), -1.2 * warm], 1))
    pick = next(u)
    woman = np.choose((pick * 12).astype(int), [6, 6, 7, 7, 8, 8, 9, 9, 3, 5, 2, 7])
    man = np.choose((pick * 12).astype(int), [0, 1, 2, 2, 2, 3, 4, 4, 10, 5, 10, 8])
    style = np.where(manly + 0.25 * (next(u) - 0.5) > 0.5, man, woman)
    hair = _colour(HAIR, next(u) * (1 - 0.85 * np.clip(tone * 1.6 - 0.4, 0, 1)))
    grey = np.clip((age - 0.55) * 3, 0, 1) * next(u)
    hair += grey[:, None] * (np.array([0.62, 0.62, 0.63]) - hair)
    dyed = (next(u) < 0.05)[:, None]
    hair = np.where(dyed, _hues(next(u), np.full(len(age), 0.5), np.full(len(age), 0.6)), hair)
    return {
        "manly": manly, "tone": tone, "age": age, "skin": np.clip(skin, 0, 1), "hair_style": style, "hair": hair,
        "blush": 0.5 + 0.5 * next(u) * (1 - manly), "freckles": np.clip(next(u) * 6 - 5, 0, 1) * (tone < 0.45),
        "face_width": 0.245 + 0.01 * next(n), "face_length": 0.4 + 0.012 * next(n) + 0.008 * (manly - 0.5),
        "jaw": 1.1 * (manly - 0.5) + 0.35 * next(n), "chin": 0.4 * next(n), "cheekbones": 0.5 + 0.35 * next(n),
        "forehead": 0.012 * next(n), "hair_volume": next(u), "hair_part": next(n), "hair_length": next(u),
    }  # fmt: skip


def _parts(u: Any, n: Any, head: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sample brows, eyes, nose, mouth, ears and beard."""
    manly, tone, hair = head.pop("manly"), head.pop("tone"), head["hair"]
    dark = _colour(HAIR, 0.25 * next(u))
    makeup = np.clip(next(u) * 2 - 0.6 - manly, 0, 1)
    natural = head["skin"] * np.array([0.86, 0.62, 0.60])
    paint = _hues(0.93 + 0.1 * next(u), 0.6 + 0.25 * next(u), 0.55 + 0.25 * next(u))
    bearded = (manly > 0.55) & (next(u) < 0.45)
    beard = np.where(bearded, 0.25 + 0.75 * next(u), 0)
    return {
        "brow_thickness": 1 + 0.35 * (manly - 0.5) + 0.16 * next(n), "brow_arch": 0.5 + 0.3 * next(n) - 0.3 * (manly - 0.5),
        "brow_height": 0.006 * next(n) - 0.008 * (manly - 0.5), "brow": 0.55 * dark + 0.45 * hair * 0.8,
        "eye_size": 1 + 0.06 * next(n) - 0.08 * (manly - 0.5), "eye_distance": 0.118 + 0.004 * next(n),
        "eye_tilt": 0.05 + 0.05 * next(n), "eye_open": 1 + 0.1 * next(n), "lid_crease": 0.5 + 0.3 * next(n),
        "lashes": 0.35 + 0.65 * np.clip(makeup + 0.5 * (1 - manly), 0, 1), "gaze": 0.15 * next(n),
        "iris": _colour(IRIS, next(u) * (1 - np.clip(tone * 1.8 - 0.5, 0, 0.9))), "iris_size": 1 + 0.05 * next(n),
        "nose_length": 0.15 + 0.007 * next(n), "nose_width": 1 + 0.11 * next(n) + 0.15 * (tone - 0.4),
        "nose_tip": 0.4 * next(n), "nose_bridge": 1 + 0.25 * next(n), "mouth_width": 0.088 + 0.005 * next(n),
        "mouth_height": 0.243 + 0.005 * next(n), "upper_lip": 1 + 0.2 * next(n) + 0.3 * (tone - 0.4) - 0.3 * (manly - 0.5),
        "lower_lip": 1 + 0.16 * next(n) + 0.2 * (tone - 0.4), "cupid": 0.5 + 0.25 * next(n),
        "lips": natural + (0.75 * makeup)[:, None] * (paint - natural), "lip_gloss": 0.35 + 0.5 * makeup,
        "teeth": 0.86 + 0.1 * next(u), "ears": 1 + 0.1 * next(n),
        "beard": beard, "moustache": np.where(bearded | ((manly > 0.7) & (next(u) < 0.1)), 0.3 + 0.7 * next(u), 0),
    }  # fmt: skip


def _worn(u: Any, face: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sample what is worn; 0 means none, otherwise the kind."""
    gold = next(u) < 0.6
    return {
        "glasses": np.select([(kind := next(u)) < 0.08, kind < 0.14, kind < 0.2], [1, 2, 3], 0),
        "glasses_colour": _hues(next(u), 0.5 * next(u), 0.08 + 0.35 * next(u)),
        "hat": np.select([(kind := next(u)) < 0.05, kind < 0.09, kind < 0.13], [1, 2, 3], 0),
        "hat_colour": _hues(next(u), 0.1 + 0.45 * next(u), 0.15 + 0.6 * next(u)),
        "earring": np.select([(kind := next(u)) < 0.08, kind < 0.16, kind < 0.24], [1, 2, 3], 0),
        "necklace": np.select([(kind := next(u)) < 0.1, kind < 0.18], [1, 2], 0),
        "metal": np.where(gold[:, None], [0.95, 0.78, 0.35], [0.85, 0.86, 0.9]),
        "collar": (next(u) * 4).astype(int),
        "cloth": _hues(next(u), 0.08 + 0.42 * next(u), 0.15 + 0.75 * next(u)),
    }  # fmt: skip


def _scene(u: Any, n: Any) -> dict[str, np.ndarray]:
    """Sample pose, light, background and sensor."""
    warm = 0.08 * next(n)
    hue = next(u)
    return {
        "yaw": 0.11 * next(n), "pitch": 0.055 * next(n), "roll": 0.04 * next(n), "scale": 1.03 + 0.02 * next(n),
        "shift_x": 0.008 * next(n), "shift_y": 0.008 * next(n) - 0.012,
        "light_x": 0.36 * next(n), "light_y": -0.35 - 0.4 * next(u),
        "light_colour": np.stack([1 + warm, np.ones_like(warm), 1 - warm], 1) * (0.98 + 0.12 * next(u))[:, None],
        "ambient": 0.34 + 0.16 * next(u),
        "background": _hues(hue, 0.06 + 0.3 * next(u), 0.25 + 0.7 * next(u)),
        "background_far": _hues(hue + 0.12 * next(n), 0.06 + 0.3 * next(u), 0.25 + 0.7 * next(u)),
        "background_angle": 6.283 * next(u), "blur": np.clip(next(u) - 0.35, 0, 1) * 0.8, "noise": 0.002 + 0.01 * next(u) ** 2,
    }  # fmt: skip


def sample_aus(count: int, seed: int, neutral: float = 0.4, start: int = 0) -> np.ndarray:
    """Draw vectors `start` to `count` - 1 of action units, float32 (N, 17) in 0..5; row i depends on (`seed`, i) alone.

    A share `neutral` is all zero; half of the others are one action unit at 1..5, the rest combinations of two to four,
    or one of the eight emotions at a strength of 0.5..1.2.

    >>> sample_aus(2, seed=0).shape
    (2, 17)
    """
    aus = np.zeros((max(count - start, 0), len(AUS)), np.float32)
    for i, row in enumerate(aus, start):
        rng = np.random.default_rng((seed, i, 17))
        kind = rng.random()
        if kind < neutral:
            continue
        kind = (kind - neutral) / (1 - neutral)
        if kind < 0.8:
            units = rng.choice(len(AUS), 1 if kind < 0.5 else int(rng.integers(2, 5)), replace=False)
            row[units] = rng.uniform(1, MAX_INTENSITY, len(units))
        else:
            strength = rng.uniform(0.5, 1.2)
            for name, value in EMOTION_AUS[EMOTIONS[rng.integers(1, len(EMOTIONS))]].items():
                row[AUS.index(name)] = min(MAX_INTENSITY, strength * value)
    return aus
