"""Write pairs by person: a folder of TFRecords whose photos have a true picture of the same person at other action units."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seghgan_tf import __version__
from seghgan_tf.data.schema import DATASET_FILE, SCHEMA_VERSION, Face, encode_face
from seghgan_tf.expressions import AUS, EMOTIONS, expression_space
from seghgan_tf.regions import CLASSES, LABEL_ORDER
from tfrecords_tools.convert.local import map_in_processes
from tfrecords_tools.faces import encode_mask
from tfrecords_tools.images import encode_image
from tfrecords_tools.lessons import Look, lessons
from tfrecords_tools.photo import Photo, Reject, Rejected
from tfrecords_tools.portraits import Sitter, lend_teeth, reduced, sit, turn
from tfrecords_tools.readers.london import read_london
from tfrecords_tools.records import SPLITS, sha256, storable
from tfrecords_tools.tables import read_table

SHARD = 512
MEASURED = ("AU12", "AU25", "AU26")
"""Units of a smile that are taken from a table, as differences to the same person's neutral photo."""
Progress = Callable[[int, int], None]


class _Task(NamedTuple):
    sitter: Sitter
    lenders: tuple[Sitter, ...]
    seed: int
    size: int
    jpeg_quality: int


def split_people(count: int) -> list[str]:
    """Return the split of each of `count` people in order: each fifth is for test, those after the last full ten for validation.

    >>> [split_people(23).count(split) for split in ("train", "validation", "test")], split_people(23)[4]
    ([16, 3, 4], 'test')
    """
    full = count - count % 10
    return ["validation" if n >= full else "test" if n % 5 == 4 else "train" for n in range(count)]


def write_london_pairs(
    source: Path, actions: Path, output: Path, size: int = 256, seed: int = 1, jpeg_quality: int = 95, workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the people of the London set as pairs, with taught action units, and return what `dataset.json` says.

    `actions` is an OpenFace table of the photos. The same arguments give the same pictures. Raises ValueError for a source
    without such people, a table without AU12, AU25 and AU26, or an output that holds something.
    """
    output = storable(output)
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"`output` must be a new folder. Received: {output}, which holds files")
    sitters, rejected = find_sitters(source, actions)
    splits = split_people(len(sitters))
    tasks = [
        _Task(sitter, _lenders(sitters, splits, number), 1000 * seed + number, size, jpeg_quality)
        for number, sitter in enumerate(sitters)
    ]
    records: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    pixels = np.zeros(len(CLASSES), np.int64)
    for done, (split, (made, seen, problem)) in enumerate(
        zip(splits, map_in_processes(_person, tasks, workers), strict=True), 1
    ):
        records[split] += made
        pixels += seen
        rejected += [problem] if problem else []
        if progress is not None:
            progress(done, len(tasks))
    return _write(output, records, pixels, rejected, {"size": size, "seed": seed, "jpeg_quality": jpeg_quality})


def find_sitters(source: Path, actions: Path) -> tuple[list[Sitter], list[Reject]]:
    """Return the people with both photos and measured smiles, in order, and what cannot be used."""
    header, rows = read_table(actions, ("filename", *(f"{unit}_r" for unit in MEASURED)))
    del header
    table = {row["filename"]: {unit: float(row[f"{unit}_r"]) for unit in MEASURED} for row in rows}
    photos: dict[str, dict[str, Photo]] = {}
    rejected = []
    for entry in read_london(source):
        if isinstance(entry, Reject):
            rejected.append(entry)
        elif entry.name in table and entry.subject_id is not None and entry.label is not None:
            photos.setdefault(entry.subject_id, {})[EMOTIONS[entry.label]] = entry
    sitters = []
    for subject, own in sorted(photos.items()):
        if "happy" in own and "neutral" in own and own["neutral"].points is not None:
            rest, smile = (table[own[mood].name] for mood in ("neutral", "happy"))
            units = {unit: round(min(5.0, max(0.0, smile[unit] - rest[unit])), 2) for unit in MEASURED}
            sitters.append(Sitter(subject, own["neutral"].path, own["happy"].path, units))
    if not sitters:
        raise ValueError(
            f"`source` must hold people with a neutral photo, its landmarks and a smiling photo. Received: {source}"
        )
    return sitters, rejected


def _lenders(sitters: Sequence[Sitter], splits: Sequence[str], number: int) -> tuple[Sitter, ...]:
    """Return the people of the same split, those that follow first."""
    order = [(number + step) % len(sitters) for step in range(1, len(sitters))]
    return tuple(sitters[other] for other in order if splits[other] == splits[number])


def _person(task: _Task) -> tuple[list[bytes], Any, Reject | None]:
    """Return the records of one person, the pixels of each class in them, and what was wrong."""
    pixels = np.zeros(len(CLASSES), np.int64)
    try:
        rest, smile = sit(task.sitter, task.size)
        teeth = lend_teeth(task.sitter, task.lenders, task.size)
        pairs = lessons(task.seed)
        looks = {look: number for number, look in enumerate(dict.fromkeys(look for pair in pairs for look in pair))}
        made: dict[Look, tuple[bytes, bytes, dict[str, float]]] = {}
        for look in looks:
            picture, mask, units = turn(smile if look.smile else rest, look, teeth)
            small = np.ascontiguousarray(mask[1::2, 1::2])
            data, image_format = encode_image(reduced(picture), task.jpeg_quality)
            made[look] = data, encode_mask(small), units
            pixels += np.bincount(small.ravel(), minlength=len(CLASSES)) * sum(pair[0] == look for pair in pairs)
    except Rejected as error:
        return [], pixels, Reject(task.sitter.subject, error.reason, error.detail)
    records = []
    for number, (first, second) in enumerate(pairs):
        (image, encoded_mask, units), (target, _, target_units) = made[first], made[second]
        face = Face(
            image_id=f"{task.sitter.subject}-{number:03d}", image=image, image_format=image_format, height=task.size,
            width=task.size, source="london", subject_id=task.sitter.subject, mask=encoded_mask, aus=units,
            target_image=target, target_aus=target_units,
        )  # fmt: skip
        records.append(encode_face(face))
    return records, pixels, None


def _write(
    output: Path, records: dict[str, list[bytes]], pixels: Any, rejected: Sequence[Reject], request: dict[str, Any]
) -> dict[str, Any]:
    """Write shards and `dataset.json` aside, then give the folder its name."""
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    splits: dict[str, Any] = {}
    for split, made in records.items():
        random.Random(7).shuffle(made)
        total = -(-len(made) // SHARD)
        shards = [
            _shard(part / f"{split}-{n:05d}-of-{total:05d}.tfrecord", made[n * SHARD :][:SHARD]) for n in range(total)
        ]
        splits[split] = {"examples": len(made), "shards": shards}
    description = {
        "schema_version": SCHEMA_VERSION, "label_order": LABEL_ORDER, "classes": list(CLASSES), "source": "london",
        "tool_version": __version__, "request": request, "image_size": request["size"], "pairs": True, "splits": splits,
        "expression": expression_space(",".join(AUS)).to_json(), "rejected": [reject._asdict() for reject in rejected],
        "class_frequency": dict(zip(CLASSES, (pixels / max(1, pixels.sum())).round(6).tolist(), strict=True)),
    }  # fmt: skip
    (part / DATASET_FILE).write_text(json.dumps(description, indent=1) + "\n")
    if output.exists():
        output.rmdir()
    part.rename(output)
    return description


def _shard(path: Path, records: Sequence[bytes]) -> dict[str, Any]:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return {"file": path.name, "examples": len(records), "sha256": sha256(path)}
