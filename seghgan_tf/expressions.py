"""Expression spaces: what an expression vector means, in which order and range."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seghgan_tf.regions import REGIONS

AUS = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12",
    "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26", "AU45",
)  # fmt: skip
"""The 17 action units whose intensity OpenFace measures, in its column order."""

AU_NAMES = dict(zip(AUS, (
    "inner brow raiser", "outer brow raiser", "brow lowerer", "upper lid raiser", "cheek raiser", "lid tightener",
    "nose wrinkler", "upper lip raiser", "lip corner puller", "dimpler", "lip corner depressor", "chin raiser",
    "lip stretcher", "lip tightener", "lips part", "jaw drop", "blink",
), strict=True))  # fmt: skip
"""The anatomical name of each action unit (Ekman and Friesen's FACS)."""

AU_WORDS = dict(zip(AUS, (
    "worried brows", "arched brows", "frown", "wide eyes", "smiling eyes", "squint", "disgust", "sneer", "smile", "smirk",
    "sad mouth", "pout", "tense mouth", "thin lips", "open lips", "open mouth", "closed eyes",
), strict=True))  # fmt: skip
"""What everybody calls each action unit."""

MAX_INTENSITY = 5.0
"""Largest intensity of an action unit; vectors store intensity / 5."""

EMOTIONS = ("neutral", "happy", "sad", "surprised", "fearful", "disgusted", "angry", "contemptuous")
"""The eight emotions of RaFD and AffectNet, in AffectNet's label order."""

EMOTION_AUS: dict[str, dict[str, float]] = {
    "neutral": {},
    "happy": {"AU06": 3.0, "AU12": 4.0, "AU25": 2.0},
    "sad": {"AU01": 3.5, "AU04": 2.5, "AU15": 3.5, "AU17": 1.5},
    "surprised": {"AU01": 4.0, "AU02": 4.0, "AU05": 3.5, "AU25": 2.5, "AU26": 4.0},
    "fearful": {"AU01": 4.0, "AU02": 2.0, "AU04": 2.5, "AU05": 4.0, "AU20": 3.0, "AU25": 2.0, "AU26": 1.5},
    "disgusted": {"AU09": 4.0, "AU10": 2.5, "AU15": 1.5, "AU17": 2.0},
    "angry": {"AU04": 4.5, "AU05": 2.0, "AU07": 3.5, "AU23": 3.5},
    "contemptuous": {"AU12": 1.5, "AU14": 4.0},
}
"""Each emotion as action units at intensities 0..5 (after EMFACS' prototypes; intensities are ours)."""


class ExpressionSpace(NamedTuple):
    """What a vector of expression means: `labels` in order, each in [`low`, `high`]; `one_hot` if they exclude each other.

    `scale` is how many of the user's units one unit of the vector is: 5 for action units (asked as 0..5, stored as 0..1).
    `unproven` labels are ones that a model was not shown to obey: emotions hold them, but nobody may ask for them by name.
    """

    labels: tuple[str, ...]
    low: float
    high: float
    one_hot: bool
    scale: float
    unproven: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Length of a vector of this space."""
        return len(self.labels)

    def vector(self, values: Mapping[str, float]) -> list[float]:
        """Turn labelled values in the user's units into a vector; what is not named is 0.

        Raises ValueError for a label that the space lacks or a value out of range.

        >>> expression_space("AU12,AU25").vector({"AU12": 2.5})
        [0.5, 0.0]
        """
        unknown = sorted(set(values) - set(self.labels))
        if unknown:
            raise ValueError(
                f"`expression` must name labels of this model, which are {', '.join(self.labels)}. Received: {', '.join(unknown)}"
            )
        for label, value in values.items():
            if not self.low * self.scale <= value <= self.high * self.scale:
                raise ValueError(
                    f"`{label}` must be between {self.low * self.scale:g} and {self.high * self.scale:g}. Received: {value:g}"
                )
        return [values.get(label, 0.0) / self.scale for label in self.labels]

    def check_proven(self, values: Mapping[str, float]) -> None:
        """Raise ValueError where some labels are asked for by name and one that the model was not shown to obey is moved.

        Values for every label are a whole expression, as `emotion` gives one, and are taken as they are.

        >>> expression_space("AU05,AU12")._replace(unproven=("AU05",)).check_proven({"AU12": 3.0})
        """
        refused = [label for label, value in values.items() if value and label in self.unproven]
        if refused and not values.keys() >= set(self.labels):
            proven = ", ".join(label for label in self.labels if label not in self.unproven)
            raise ValueError(
                f"`expression` must name labels that this model was shown to obey, which are {proven}. Received: {', '.join(refused)}"
            )

    def emotion(self, name: str) -> dict[str, float]:
        """Return an emotion as a value for every label, in the user's units; neutral is 0 for every action unit.

        Raises ValueError where the space cannot show it.

        >>> expression_space("AU12,AU14").emotion("contemptuous")
        {'AU12': 1.5, 'AU14': 4.0}
        >>> expression_space("AU12").emotion("neutral")
        {'AU12': 0.0}
        """
        shown = self.emotions()
        if name not in shown:
            raise ValueError(
                f"`emotion` must be one that the model's labels ({', '.join(self.labels)}) can show. Received: {name}"
            )
        return shown[name]

    def emotions(self) -> dict[str, dict[str, float]]:
        """Return each emotion that the space can show as `emotion` does; every label of a one-hot space is one.

        >>> expression_space("AU12,AU14").emotions()
        {'neutral': {'AU12': 0.0, 'AU14': 0.0}, 'contemptuous': {'AU12': 1.5, 'AU14': 4.0}}
        """
        if self.one_hot:
            return {label: {label: self.high * self.scale} for label in self.labels}
        known = EMOTION_AUS if set(self.labels) <= set(AUS) else {}
        return {
            name: {label: units.get(label, 0.0) for label in self.labels}
            for name, units in known.items()
            if set(units) <= set(self.labels)
        }

    def units(self) -> dict[str, dict[str, str]]:
        """Return the `region`, `name` and everyday `word` of each action unit of the space, region by region.

        >>> expression_space("AU12").units()
        {'AU12': {'region': 'mouth', 'name': 'lip corner puller', 'word': 'smile'}}
        """
        return {
            unit: {"region": name, "name": AU_NAMES[unit], "word": AU_WORDS[unit]}
            for name, region in REGIONS.items()
            for unit in region.units
            if unit in self.labels
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ExpressionSpace":
        """Return the space that `to_json` wrote."""
        unproven = tuple(values.get("unproven", ()))
        return cls(tuple(values["labels"]), values["low"], values["high"], values["one_hot"], values["scale"], unproven)

    def to_json(self) -> dict[str, object]:
        """Return the space as plain values, the form stored with data and models."""
        values = self._asdict() | {"labels": list(self.labels), "unproven": list(self.unproven)}
        return values if self.unproven else {name: values[name] for name in self._fields if name != "unproven"}


SPACES = {
    "aus": ExpressionSpace(AUS, 0.0, 1.0, False, MAX_INTENSITY),
    "emotions": ExpressionSpace(EMOTIONS, 0.0, 1.0, True, 1.0),
    "va": ExpressionSpace(("valence", "arousal"), -1.0, 1.0, False, 1.0),
}
"""The spaces that have a name; any action units joined by commas are one too."""


def expression_space(spec: str) -> ExpressionSpace:
    """Return the space named by `spec`: one of SPACES, or action units joined by commas.

    Raises ValueError where `spec` names neither a space nor known action units.

    >>> expression_space("AU12,AU25").labels
    ('AU12', 'AU25')
    """
    if spec in SPACES:
        return SPACES[spec]
    labels = tuple(part.strip() for part in spec.split(","))
    if not all(label in AUS for label in labels) or len(set(labels)) != len(labels):
        raise ValueError(
            f"`expression_space` must be {', '.join(SPACES)}, or different action units joined by commas (from {', '.join(AUS)}). Received: {spec}"
        )
    return ExpressionSpace(labels, 0.0, 1.0, False, MAX_INTENSITY)


def labelled_space(labels: Sequence[str]) -> ExpressionSpace:
    """Return the space that has these labels, in this order.

    Raises ValueError where there is none.

    >>> labelled_space(["valence", "arousal"]).low
    -1.0
    """
    named = {space.labels: name for name, space in SPACES.items()}
    return expression_space(named.get(tuple(labels), ",".join(labels)))


def parse_value(text: str) -> tuple[str, float]:
    """Parse `AU12=3` (or `AU12=+1.5`, `valence=-0.5`) into its label and value, in the user's units.

    Raises ValueError where the text has another form, or names what no space that has a name sets to a value.

    >>> parse_value("au6=2")
    ('AU06', 2.0)
    """
    words = {label for space in SPACES.values() if not space.one_hot for label in space.labels if label not in AUS}
    match = re.fullmatch(rf"(?:au(\d{{1,2}})|({'|'.join(sorted(words))}))=([+-]?\d*\.?\d+)", text.strip().lower())
    if not match:
        raise ValueError(
            f"a value must look like AU12=3, or {', '.join(sorted(words))} in AU12's place. Received: {text}"
        )
    return match[2] or f"AU{int(match[1]):02d}", float(match[3])
