"""Which units a model for photographs obeys: the error of its edits on people kept out, unit by unit, against doing nothing.

    python benchmarks/portrait_units.py MODEL RECORDS [--out units.json]

RECORDS is what `seghgan data pair london ... --taught` wrote. Every pair of its test split that starts at rest counts for the unit that
changes, or for the smile or the mixture. The ratio is sum |edit - truth| / sum |photo - truth| at twice the model's size: 0 is
perfect, 1 does nothing. Interval: 95 % over people, 1,000 draws, seed 1.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from seghgan_tf.data.stream import Batching, load_expression_stream
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.field import apply_field, grow


def main() -> None:
    """Measure, print a table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="A packaged model, or an .npz file of weights.")
    parser.add_argument("records", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    model = SegHGAN.from_preset(given.model)
    found = _errors(model, given.records)
    figures = {name: _ratio(np.array(rows)) for name, rows in sorted(found.items())}
    for name, one in figures.items():
        print(f"{name:12} {one['ratio']:.3f}  {one['low']:.3f} to {one['high']:.3f}  {one['pairs']} pairs")
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


def _errors(model: SegHGAN, records: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Return (person, error of the edit, error of the photo) of each pair, by what it asks."""
    space, side = model.config.space, 2 * model.config.image_size
    stream = load_expression_stream((records,), "test", space, Batching(image_size=side, batch_size=8))
    people: dict[float, int] = {}
    found: dict[str, list[tuple[int, float, float]]] = {}

    @tf.function(reduce_retracing=True)
    def edit(photo: tf.Tensor, expression: tf.Tensor) -> tf.Tensor:
        field = model.field({"image": tf.nn.avg_pool2d(photo, 2, 2, "VALID"), "expression": expression})
        return apply_field(photo, grow(field, side, side))

    for batch in stream:
        edited = edit(batch["image"], batch["target_expression"])
        errors = [tf.reduce_mean(tf.abs(one - batch["target_image"]), (1, 2, 3)) for one in (edited, batch["image"])]
        for photo, rest, asked, *pair in zip(
            batch["image"], batch["expression"], batch["target_expression"].numpy(), *errors, strict=True
        ):
            if not np.any(rest):
                units = [label for label, value in zip(space.labels, asked, strict=True) if value > 0]
                name = units[0] if len(units) == 1 else "smile" if "AU12" in units else "mixture"
                person = people.setdefault(round(float(tf.reduce_mean(photo)), 4), len(people))
                found.setdefault(name, []).append((person, float(pair[0]), float(pair[1])))
    return found


def _ratio(rows: np.ndarray) -> dict[str, float]:
    rng, people = np.random.default_rng(1), np.unique(rows[:, 0])
    sums = np.array([rows[rows[:, 0] == person, 1:].sum(0) for person in people])
    drawn = sums[rng.integers(0, len(people), (1000, len(people)))].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    edit, photo = sums.sum(0)
    return {"ratio": edit / photo, "low": low, "high": high, "pairs": len(rows), "people": len(people)}


if __name__ == "__main__":
    main()
