"""A folder of records: its `dataset.json`, shards, splits and digests; who writes one and who reads one meet here."""

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from seghgan_tf import __version__
from seghgan_tf.data.schema import Face, decode_face, decode_mask, encode_face
from seghgan_tf.expressions import AUS, EMOTIONS, expression_space
from seghgan_tf.files import sha256, sync, write_atomically
from seghgan_tf.regions import CLASSES, LABEL_ORDER, REGIONS

SPLITS = ("train", "validation", "test")
DATASET_FILE = "dataset.json"
SCHEMA_VERSION = 1
MAX_SIZES = 16
"""Sizes of pictures that are counted one by one; further ones are `other`."""


def shard_name(split: str, number: int, total: int, generation: int = 0) -> str:
    """Return a shard's file name; what is appended has its generation in the name.

    >>> shard_name("train", 2, 7), shard_name("train", 0, 1, 1)
    ('train-00002-of-00007.tfrecord', 'train-more1-00000-of-00001.tfrecord')
    """
    more = f"more{generation}-" if generation else ""
    return f"{split}-{more}{number:05d}-of-{total:05d}.tfrecord"


def shard_entry(path: Path, examples: int) -> dict[str, Any]:
    """Return what `dataset.json` says of a shard: file, examples, bytes and SHA-256."""
    return {"file": path.name, "examples": examples, "bytes": path.stat().st_size, "sha256": sha256(path)}


def storable(folder: Path) -> Path:
    """Return a folder that is to hold records. Raises ValueError where its path is no UTF-8, which TensorFlow does not open."""
    folder = Path(folder)
    path = os.fsencode(folder.absolute()).decode("utf-8", "backslashreplace")
    if path != os.fspath(folder.absolute()):
        raise ValueError(
            f"`output` must be a path in UTF-8 because TensorFlow opens no other; name another folder. Received: {path}"
        )
    return folder


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a folder beside `output` that takes its name once the block is done; where it fails, nothing stays."""
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if output.exists():
            output.rmdir()
        part.rename(output)
        sync(output.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Read and check a folder's `dataset.json`. Raises ValueError naming the file and the mend."""
    path = Path(folder) / DATASET_FILE
    if not path.is_file():
        raise ValueError(
            f"`data` must be a folder written by `seghgan data convert` or `seghgan data draw`, with a {DATASET_FILE}. Received: {folder}"
        )
    try:
        description: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"`{path}` must be JSON; convert or draw the data again. Received: {error}") from error
    if description.get("schema_version") != SCHEMA_VERSION or description.get("label_order") != LABEL_ORDER:
        raise ValueError(
            f"`{path}` must have schema version {SCHEMA_VERSION} and label order {LABEL_ORDER}; convert the data again. "
            f"Received: {description.get('schema_version')} and {description.get('label_order')}"
        )
    return description


def write_dataset_json(folder: Path, description: Mapping[str, Any], aside: Path | None = None) -> None:
    """Write a folder's `dataset.json` at once, by way of the folder `aside` or its own."""
    write_atomically(folder / DATASET_FILE, json.dumps(description, indent=1) + "\n", aside)


def split_of(description: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return what a description says of a split: `examples`, `shards` and counts; none for one it does not have.

    >>> split_of({"splits": {}}, "test")
    {'examples': 0, 'shards': []}
    """
    return {"examples": 0, "shards": [], **((description.get("splits") or {}).get(split) or {})}


def read_shard(path: Path) -> Iterator[Face]:
    """Yield the faces of a shard in order. Raises ValueError for a file that is cut off, damaged, or holds other records."""
    number = 0
    try:
        for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
            yield decode_face(record)
            number += 1
    except (tf.errors.OpError, ValueError) as error:
        detail = error.message if isinstance(error, tf.errors.OpError) else str(error)
        raise ValueError(
            f"`{path}` must hold whole records; convert the data again. Received: damage after {number} records ({detail})"
        ) from error


def read_split(folder: Path, description: Mapping[str, Any], split: str) -> Iterator[Face]:
    """Yield the faces of a split in the order of its shards."""
    for shard in split_of(description, split)["shards"]:
        yield from read_shard(Path(folder) / shard["file"])


class Tally:
    """Counts what records hold; shards, splits and folders add up.

    `totals` has examples, masks, with_units, with_affect (both valence and arousal) and
    with_target (a true picture whose action units are known as well); `units`, `labels` and `sizes` count
    records by action unit, emotion and size; `notes` counts what a person should know; `pixels` (19,) are those of each class.

    >>> counted = Tally({"examples": 2, "labels": {"happy": 1}})
    >>> counted.update({"examples": 1}).to_json()["examples"]
    3
    """

    TOTALS = ("examples", "masks", "with_units", "with_affect", "with_target")
    COUNTERS = ("units", "labels", "sizes", "notes")

    def __init__(self, *counts: Mapping[str, Any]) -> None:
        self.totals: Counter[str] = Counter(dict.fromkeys(self.TOTALS, 0))
        self.units, self.labels, self.sizes, self.notes = (Counter[str]() for _ in self.COUNTERS)
        self.pixels: NDArray[np.int64] = np.zeros(len(CLASSES), np.int64)
        for each in counts:
            self.update(each)

    def add(self, face: Face) -> None:
        """Count a face."""
        self.totals["examples"] += 1
        self.totals["masks"] += face.mask is not None
        self.totals["with_units"] += face.aus is not None
        self.totals["with_affect"] += face.valence is not None and face.arousal is not None
        self.totals["with_target"] += face.target_image is not None and set(face.target_aus or ()) >= set(
            face.aus or ()
        )
        self.units.update((face.aus or {}).keys())
        if face.label is not None:
            self.labels[EMOTIONS[face.label]] += 1
        side = f"{face.width}x{face.height}"
        self.sizes[side if side in self.sizes or len(self.sizes) < MAX_SIZES else "other"] += 1

    def add_mask(self, mask: NDArray[np.uint8]) -> None:
        """Count the pixels (class ids) of a face's mask, and the regions it lacks."""
        pixels = np.array(Image.fromarray(mask).histogram()[: len(CLASSES)])
        self.pixels += pixels
        for name, region in REGIONS.items():
            if not pixels[list(region.classes)].any():
                self.notes[f"masks without {name}"] += 1

    def update(self, counts: Mapping[str, Any]) -> "Tally":
        """Add what `to_json` returned."""
        self.totals.update({key: counts.get(key, 0) for key in self.TOTALS})
        for name in self.COUNTERS:
            getattr(self, name).update(counts.get(name, {}))
        self.pixels += counts.get("class_pixels") or 0
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values, names in their own order."""
        return {
            **{key: self.totals[key] for key in self.TOTALS},
            "units": {unit: self.units[unit] for unit in AUS if unit in self.units},
            "labels": {label: self.labels[label] for label in EMOTIONS if label in self.labels},
            "sizes": dict(sorted(self.sizes.items())), "notes": dict(sorted(self.notes.items())),
            "class_pixels": self.pixels.tolist(),
        }  # fmt: skip

    def space(self) -> dict[str, object] | None:
        """Describe what the records say of expressions: action units before emotions before valence and arousal."""
        if self.units:
            return expression_space(",".join(unit for unit in AUS if unit in self.units)).to_json()
        if self.labels:
            return expression_space("emotions").to_json()
        return expression_space("va").to_json() if self.totals["with_affect"] else None

    def side(self) -> int | None:
        """Return the side of the pictures where all are squares of one size."""
        width, _, height = next(iter(self.sizes), "").partition("x")
        return int(width) if len(self.sizes) == 1 and width == height else None


def write_shard(
    folder: Path, split: str, number: int, total: int, faces: Iterable[Face], tally: Tally
) -> dict[str, Any]:
    """Write a shard into a new folder, count its faces in `tally`, and return its entry."""
    path, before = folder / shard_name(split, number, total), tally.totals["examples"]
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for face in faces:
            writer.write(encode_face(face))
            tally.add(face)
    return shard_entry(path, tally.totals["examples"] - before)


def tally_of(folder: Path, description: Mapping[str, Any], split: str) -> Tally:
    """Return the counts of a split, from its description or, where an older one does not have them, from its records."""
    entry = split_of(description, split)
    if "class_pixels" in entry:
        return Tally(entry)
    tally = Tally()
    for face in read_split(folder, description, split):
        tally.add(face)
        if face.mask is not None:
            tally.add_mask(decode_mask(face.mask))
    return tally


def describe(
    source: str, request: Mapping[str, Any], shards: Mapping[str, Sequence[Mapping[str, Any]]], tallies: Mapping[str, Tally], **more: Any
) -> dict[str, Any]:  # fmt: skip
    """Return the description that `dataset.json` holds: the shards and counts of each split, and the counts of all.

    `shards` are those of each split (see `shard_entry`), `tallies` their counts; `more` adds to it, or has other values.
    """
    whole = Tally(*(each.to_json() for each in tallies.values()))
    pixels = int(whole.pixels.sum())
    splits = {}
    for split in SPLITS:
        counts = tallies.get(split, Tally()).to_json()
        splits[split] = {"examples": 0, "shards": list(shards.get(split, ())), **counts}
    return {
        "schema_version": SCHEMA_VERSION, "label_order": LABEL_ORDER, "classes": list(CLASSES), "source": source,
        "tool_version": __version__, "request": request, "image_size": whole.side(), "splits": splits, **whole.to_json(),
        "pairs": whole.totals["with_target"] > 0, "expression": whole.space(), "rejected": [], "excluded": [],
        "class_frequency": {
            name: round(count / pixels, 6) for name, count in zip(CLASSES, whole.pixels.tolist(), strict=True)
        } if pixels else {},
        **more,
    }  # fmt: skip
