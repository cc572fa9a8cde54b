"""How sure a figure is: bootstrap intervals over the people who were measured, not over their photos."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
"""How often people are drawn anew."""
SEED = 0
COVERED = (2.5, 97.5)
"""The percentiles between which the interval lies: 95 % of the draws."""

Figure = Callable[[NDArray[np.float64], NDArray[np.float64]], Any]
"""A figure of sums (..., K) over images and of how many images these are (...)."""


def mean(sums: NDArray[np.float64], images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of rows of one number each."""
    return sums[..., 0] / images


def drawn(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums (DRAWS, K) and images (DRAWS,) over people drawn with replacement, of each one's sums and images (P, K + 1).

    The same people are drawn of any two that are equally many, so that what was measured of the same ones stays paired.
    """
    chance = np.random.default_rng(SEED)
    times = chance.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS)
    totals: NDArray[np.float64] = times.astype(np.float64) @ sums
    return totals[:, :-1], totals[:, -1]


def percentiles(values: NDArray[np.float64]) -> list[float]:
    """Return the 95 % interval of what was drawn; draws that hold nothing of a figure are left out."""
    low, high = np.nanpercentile(values, COVERED)
    return [float(low), float(high)]


class Rows:
    """What was measured of each image, with the person in it; an image of nobody known is a person of its own.

    >>> rows = Rows()
    >>> rows.add({"subject": [b"ann", b"ann", b"bob"]}, [[1.0], [3.0], [8.0]])
    >>> rows.figure(mean), rows.people, rows.interval(mean)
    (4.0, 2, [2.0, 8.0])
    """

    def __init__(self) -> None:
        self._values: list[NDArray[np.float64]] = []
        self._names: list[bytes] = []

    def add(self, batch: Mapping[str, Any], values: Any) -> None:
        """Add the rows (B, ...) of a batch, which are to be summed; `batch["subject"]` (B,) says who is in it."""
        values = np.asarray(values, np.float64)
        self._values.append(values.reshape(len(values), -1))
        names = np.asarray(batch["subject"]).tolist() if "subject" in batch else [b""] * len(values)
        self._names += [name or b"\0%d" % i for i, name in enumerate(names, len(self._names))]

    @property
    def images(self) -> int:
        """How many images were added."""
        return len(self._names)

    @property
    def people(self) -> int:
        """How many people they show."""
        return len(set(self._names))

    @property
    def total(self) -> NDArray[np.float64]:
        """The sums (K,) over all images."""
        sums: NDArray[np.float64] = np.concatenate(self._values).sum(0)
        return sums

    def figure(self, of: Figure) -> float:
        """Return a figure over all images."""
        return float(of(self.total, np.asarray(float(self.images))))

    def by_person(self) -> dict[str, list[float]]:
        """Return, by the people's names in order, the sums over each one's images, and last how many these are."""
        names, person = np.unique(np.array(self._names, object), return_inverse=True)
        values = np.concatenate(self._values)
        sums = np.zeros((len(names), values.shape[1] + 1))
        np.add.at(sums, person, np.column_stack([values, np.ones(len(values))]))
        return {name.decode(errors="backslashreplace"): row for name, row in zip(names, sums.tolist(), strict=True)}

    def interval(self, of: Figure) -> list[float] | None:
        """Return the 95 % percentile interval of a figure over people drawn with replacement; None for a single person."""
        sums = np.array(list(self.by_person().values()))
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold nothing that changes
            return None if len(sums) < 2 else percentiles(of(*drawn(sums)))


def intervals(**figures: tuple[Rows, Figure]) -> dict[str, list[float]]:
    """Return the interval of each figure that has one."""
    found = {name: rows.interval(of) for name, (rows, of) in figures.items()}
    return {name: interval for name, interval in found.items() if interval is not None}
