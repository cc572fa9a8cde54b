"""Looking at a folder of records: what it holds in numbers, for the terminal and for the HTML report."""

import dataclasses
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seghgan_tf.data.folder import SPLITS, read_dataset_json, read_split, split_of
from seghgan_tf.data.schema import Face, decode_mask
from seghgan_tf.expressions import AU_NAMES, AUS, EMOTIONS, MAX_INTENSITY
from seghgan_tf.pictures import color_mask
from seghgan_tf.regions import CLASSES

BINS = 20
SHEET = 24
"""Pictures on the sheet of the report."""
SHEET_SIDE = 128


@dataclasses.dataclass
class Overview:
    """What the records of a folder hold.

    `units` (n, 17) are the action units of the records that have any, NaN where unknown; `pictures` are pairs of an image and
    its mask in colour over it (or None), uint8 (128, 128, 3); `read` records were looked at.
    """

    description: dict[str, Any]
    read: int = 0
    masks: int = 0
    aligned: int = 0
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    affect: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    subjects: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    units: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, len(AUS))))
    pictures: list[tuple[np.ndarray, np.ndarray | None]] = dataclasses.field(default_factory=list)

    def histogram(self, unit: str) -> np.ndarray:
        """Return how many records have the action unit in each of BINS equal parts of 0..5."""
        values = self.units[:, AUS.index(unit)]
        return np.histogram(values[~np.isnan(values)], BINS, (0, MAX_INTENSITY))[0]

    def known_units(self) -> list[str]:
        """Return the action units that at least one record has."""
        return [unit for i, unit in enumerate(AUS) if not np.isnan(self.units[:, i]).all()]

    def correlations(self) -> np.ndarray:
        """Return the correlations of the known action units (k, k); NaN where one of them never changes."""
        columns = self.units[:, [AUS.index(unit) for unit in self.known_units()]]
        whole = columns[~np.isnan(columns).any(axis=1)]
        if len(whole) < 2:
            return np.full((columns.shape[1],) * 2, np.nan)
        spread = whole - whole.mean(0)
        norm = np.sqrt((spread**2).sum(0))
        with np.errstate(invalid="ignore", divide="ignore"):
            return (spread.T @ spread) / np.outer(norm, norm)


def overview(folder: Path, limit: int = 50_000) -> Overview:
    """Read at most `limit` records of each split of a folder and count. Raises ValueError for damaged records."""
    description = read_dataset_json(folder)
    found = Overview(description)
    rows = []
    every = max(1, sum(entry["examples"] for entry in description["splits"].values()) // SHEET)
    for split in SPLITS:
        people = found.subjects.setdefault(split, set())
        for number, face in enumerate(read_split(folder, description, split)):
            if number >= limit:
                break
            if found.read % every == 0 and len(found.pictures) < SHEET:
                found.pictures.append(_picture(face))
            found.read += 1
            found.masks += face.mask is not None
            found.aligned += face.alignment is not None
            if face.subject_id is not None:
                people.add(face.subject_id)
            if face.label is not None:
                found.labels[face.label] += 1
            if face.valence is not None and face.arousal is not None:
                found.affect.append((face.valence, face.arousal))
            if face.aus is not None:
                rows.append([face.aus.get(unit, np.nan) for unit in AUS])
    found.units = np.array(rows, np.float32).reshape(-1, len(AUS))
    return found


def _picture(face: Face) -> tuple[np.ndarray, np.ndarray | None]:
    with Image.open(io.BytesIO(face.image)) as stored:
        image = stored.convert("RGB")
    scale = SHEET_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size)
    if face.mask is None:
        return np.asarray(small), None
    mask = Image.fromarray(color_mask(decode_mask(face.mask))).resize(size, Image.Resampling.NEAREST)
    return np.asarray(small), np.asarray(Image.blend(small, mask, 0.6))


def print_overview(console: Any, folder: Path, found: Overview) -> None:
    """Print what a folder holds to a rich console."""
    from rich.table import Table

    about = found.description
    size = about.get("image_size")
    console.print(
        f"{folder}: {about.get('source')}, {f'{size} x {size} px' if size else 'several sizes'}, made by {about.get('tool_version')}"
    )
    table = Table("split", "examples", "subjects", "shards")
    for split in SPLITS:
        entry = split_of(about, split)
        people = len(found.subjects.get(split, ()))
        table.add_row(split, str(entry["examples"]), str(people) if people else "unknown", str(len(entry["shards"])))
    console.print(table)
    console.print(
        f"of {found.read} records read: {found.masks} with masks, {len(found.units)} with action units, "
        f"{sum(found.labels.values())} with an emotion, {len(found.affect)} with valence and arousal, {found.aligned} moved to another frame"
    )
    if found.units.size:
        table = Table("action unit", "known", "mean", "above 1", "distribution 0..5")
        for unit in found.known_units():
            values = found.units[:, AUS.index(unit)]
            values = values[~np.isnan(values)]
            table.add_row(
                f"{unit} {AU_NAMES[unit]}", str(len(values)), f"{values.mean():.2f}", f"{(values > 1).mean():.0%}", _spark(found.histogram(unit))
            )  # fmt: skip
        console.print(table)
    if found.labels:
        console.print("emotions: " + ", ".join(f"{EMOTIONS[i]} {found.labels[i]}" for i in sorted(found.labels)))
    if about.get("class_frequency"):
        shares = about["class_frequency"]
        console.print(
            "class shares: " + ", ".join(f"{name} {shares[name]:.2%}" for name in CLASSES if shares.get(name))
        )
    for key in ("rejected", "excluded"):
        if about.get(key):
            console.print(f"{key}: " + ", ".join(f"{each['count']} {each['reason']}" for each in about[key]))


def _spark(counts: np.ndarray) -> str:
    bars = " ▁▂▃▄▅▆▇█"
    top = counts.max() or 1
    return "".join(bars[int(np.ceil(count / top * (len(bars) - 1)))] for count in counts)
