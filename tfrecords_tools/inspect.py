"""Looking at a folder of records: what it holds in numbers, for the terminal and for the HTML report."""

import dataclasses
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seghgan_tf.data.folder import SPLITS, Tally, read_dataset_json, read_split, split_of
from seghgan_tf.data.schema import Face, decode_mask
from seghgan_tf.expressions import AU_NAMES, AUS, MAX_INTENSITY
from seghgan_tf.pictures import color_mask
from seghgan_tf.regions import CLASSES
from tfrecords_tools.census import digest_of, open_census
from tfrecords_tools.rejects import left_out, noted

BINS = 20
SHEET = 24
"""Pictures on the sheet of the report."""
SHEET_SIDE = 128


@dataclasses.dataclass
class Overview:
    """What the records of a folder hold.

    `units` (n, 17) are the action units of the records that have any, NaN where unknown; `pictures` are pairs of an image and
    its mask in colour over it (or None), uint8 (128, 128, 3); `read` records were looked at; `twins` are pictures in several splits.
    """

    description: dict[str, Any]
    read: int = 0
    tally: Tally = dataclasses.field(default_factory=Tally)
    aligned: int = 0
    affect: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    subjects: dict[str, int] = dataclasses.field(default_factory=dict)
    units: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, len(AUS))))
    twins: int = 0
    pictures: list[tuple[np.ndarray, np.ndarray | None]] = dataclasses.field(default_factory=list)

    def histogram(self, unit: str) -> np.ndarray:
        """Return how many records have the action unit in each of BINS equal parts of 0..5."""
        values = self.units[:, AUS.index(unit)]
        return np.histogram(values[~np.isnan(values)], BINS, (0, MAX_INTENSITY))[0]

    def known_values(self) -> dict[str, np.ndarray]:
        """Return the known values of each action unit that at least one record has."""
        known = {unit: column[~np.isnan(column)] for unit, column in zip(AUS, self.units.T, strict=True)}
        return {unit: values for unit, values in known.items() if len(values)}

    def correlations(self) -> np.ndarray:
        """Return the correlations of the known action units (k, k); NaN where one of them never changes."""
        columns = self.units[:, [AUS.index(unit) for unit in self.known_values()]]
        whole = columns[~np.isnan(columns).any(axis=1)]
        if len(whole) < 2:
            return np.full((columns.shape[1],) * 2, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.corrcoef(whole, rowvar=False).reshape(columns.shape[1], -1)


def overview(folder: Path, limit: int = 50_000) -> Overview:
    """Read at most `limit` records of each split of a folder and count. Raises ValueError for damaged records."""
    description = read_dataset_json(folder)
    found = Overview(description)
    rows = []
    every = max(1, sum(split_of(description, split)["examples"] for split in SPLITS) // SHEET)
    with open_census() as census:
        for split in SPLITS:
            for face in itertools.islice(read_split(folder, description, split), limit):
                if found.read % every == 0 and len(found.pictures) < SHEET:
                    found.pictures.append(_picture(face))
                found.read += 1
                found.tally.add(face)
                found.aligned += face.alignment is not None
                census.add_picture(digest_of(face.image), face.image_id, split)
                if face.subject_id is not None:
                    census.add_subject(face.subject_id, split)
                if face.valence is not None and face.arousal is not None:
                    found.affect.append((face.valence, face.arousal))
                if face.aus is not None:
                    rows.append([face.aus.get(unit, np.nan) for unit in AUS])
            found.subjects[split] = census.people_in(split)
        found.twins = sum(1 for _ in census.twins())
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
        people = found.subjects.get(split, 0)
        table.add_row(split, str(entry["examples"]), str(people) if people else "unknown", str(len(entry["shards"])))
    console.print(table)
    console.print(
        f"of {found.read} records read: {found.tally.totals['masks']} with masks, {len(found.units)} with action units, "
        f"{found.tally.labels.total()} with an emotion, {len(found.affect)} with valence and arousal, {found.aligned} moved to another frame"
    )
    if found.units.size:
        _print_units(console, found)
    labels = found.tally.to_json()["labels"]
    if labels:
        console.print("emotions: " + ", ".join(f"{label} {count}" for label, count in labels.items()))
    if found.twins:
        console.print(f"pictures that are in several splits, byte for byte: {found.twins}")
    if about.get("class_frequency"):
        shares = about["class_frequency"]
        console.print(
            "class shares: " + ", ".join(f"{name} {shares[name]:.2%}" for name in CLASSES if shares.get(name))
        )
    for line in (*left_out(about), *noted(about)):
        console.print(line)


def _print_units(console: Any, found: Overview) -> None:
    from rich.table import Table

    table = Table("action unit", "known", "mean", "above 1", "distribution 0..5")
    for unit, values in found.known_values().items():
        cells = (f"{unit} {AU_NAMES[unit]}", str(len(values)), f"{values.mean():.2f}", f"{(values > 1).mean():.0%}")
        table.add_row(*cells, _spark(found.histogram(unit)))
    console.print(table)


def _spark(counts: np.ndarray) -> str:
    bars = " ▁▂▃▄▅▆▇█"
    top = counts.max() or 1
    return "".join(bars[int(np.ceil(count / top * (len(bars) - 1)))] for count in counts)
