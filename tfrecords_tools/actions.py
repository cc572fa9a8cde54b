"""Action units from OpenFace's CSV files, joined to faces by file name."""

import csv
import math
from pathlib import Path

from seghgan_tf.expressions import AUS, MAX_INTENSITY


def read_actions(path: Path, confidence: float = 0.8, names: tuple[str, ...] = AUS) -> dict[str, dict[str, float]]:
    """Read intensities 0..5 by file name; rows without success or under `confidence` are left out, absent columns unknown.

    `names` limits what is taken. Raises ValueError where a column is missing that every OpenFace table has, where an intensity is out of 0..5, or where
    the whole table looks like 0..1 (a fifth of the scale), which would be wrong in silence.
    """
    with path.open(newline="") as file:
        table = csv.DictReader(file, skipinitialspace=True)
        columns = table.fieldnames or []
        if "filename" not in columns:
            raise ValueError(f"`actions` must have a filename column. Received: {path} with {', '.join(columns[:8])}")
        taken = {name: f"{name}_r" for name in names if f"{name}_r" in columns}
        if not taken:
            raise ValueError(
                f"`actions` must have intensities such as AU12_r. Received: {path} with {', '.join(columns[:8])}"
            )
        found: dict[str, dict[str, float]] = {}
        largest = 0.0
        for row in table:
            if float(row.get("success") or 1) < 1 or float(row.get("confidence") or 1) < confidence:
                continue
            values = {name: float(row[column]) for name, column in taken.items() if row[column]}
            for name, value in values.items():
                if not (math.isfinite(value) and 0 <= value <= MAX_INTENSITY):
                    raise ValueError(
                        f"`{name}_r` must be between 0 and 5. Received: {value} for {row['filename']} in {path}"
                    )
                largest = max(largest, value)
            found[row["filename"]] = values
    if len(found) >= 20 and largest <= 1.0:
        raise ValueError(
            f"`actions` must be intensities 0..5. Received: {path}, whose largest value is {largest:g}: multiply by 5"
        )
    return found
