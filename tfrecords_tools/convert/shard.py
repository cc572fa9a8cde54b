"""One shard: its photos opened, its records written aside, synced and given their name; the unit that runners share out."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from seghgan_tf.data.schema import Face, encode_face
from seghgan_tf.regions import CLASSES
from tfrecords_tools.convert.plan import PLAN, Plan, raise_reject
from tfrecords_tools.faces import Picturing, make_faces
from tfrecords_tools.masks import Mask
from tfrecords_tools.photo import Reject, Rejected, brief, readable
from tfrecords_tools.records import sha256, sync_folder, write_atomically

JOURNAL = ".journal"
"""Folder beside the shards that holds the plan and what is done, until all is."""


class Stopped(Exception):  # noqa: N818 - not an error
    """Raised in a worker whose conversion is being stopped."""


def shard_name(split: str, number: int, total: int, generation: int) -> str:
    """Return a shard's file name; what is appended has its generation in the name.

    >>> shard_name("train", 2, 7, 0), shard_name("train", 0, 1, 1)
    ('train-00002-of-00007.tfrecord', 'train-more1-00000-of-00001.tfrecord')
    """
    more = f"more{generation}-" if generation else ""
    return f"{split}-{more}{number:05d}-of-{total:05d}.tfrecord"


def convert_shard(
    output: Path,
    split: str,
    number: int,
    on_error: str = "report",
    tick: Callable[[], None] = lambda: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Write one shard of a planned conversion, unless that is done, and return what it holds.

    `tick` is called after each photo; `stopped` is asked before each. Raises ValueError at a reject where `on_error` is "fail",
    OSError where the disk does not take the shard, Stopped.
    """
    journal = output / JOURNAL
    done_path = journal / f"{split}-{number:05d}.json"
    done = _done(output, done_path)
    if done is not None:
        return done
    plan = Plan(journal / PLAN)
    about, request = plan.about, plan.about["request"]
    name = shard_name(split, number, plan.shards_of(split), about["generation"])
    tally = Tally()
    how = Picturing(**request["picturing"])
    part = journal / f"{name}.{os.getpid()}.part"
    try:
        with tf.io.TFRecordWriter(os.fspath(part)) as writer:
            for photo in plan.photos(split, number):
                if stopped():
                    raise Stopped
                try:
                    faces = make_faces(photo, how, request["dataset"], tally.add_mask)
                except Rejected as error:
                    tally.reject(Reject(brief(readable(photo.name)), error.reason, brief(error.detail)), on_error)
                    faces = []
                for face in faces:
                    writer.write(encode_face(face))
                    tally.add(face)
                tick()
        _sync(part)
        result = {"file": name, "sha256": sha256(part), "bytes": part.stat().st_size, **tally.to_json()}
        part.rename(output / name)
    except tf.errors.OpError as error:
        raise OSError(f"`output` must take the shards; {output} does not: {error.message}") from error
    finally:
        plan.close()
        part.unlink(missing_ok=True)
    sync_folder(output)
    write_atomically(done_path, json.dumps(result).encode())
    return result


def _done(output: Path, path: Path) -> dict[str, Any] | None:
    """Return what a finished shard holds, None where it is not finished."""
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
        whole = (output / result["file"]).stat().st_size == result["bytes"]
    except FileNotFoundError:
        return None
    return result if whole else None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class Tally:
    """Counts what goes into shards."""

    def __init__(self) -> None:
        self.examples = self.masks = self.expressions = self.affect = 0
        self.units: Counter[str] = Counter()
        self.labels: Counter[int] = Counter()
        self.sizes: Counter[str] = Counter()
        self.pixels = np.zeros(len(CLASSES), np.int64)
        self.rejected: list[Reject] = []

    def add(self, face: Face) -> None:
        """Count a face."""
        self.examples += 1
        side = f"{face.width}x{face.height}"
        self.sizes[side if side in self.sizes or len(self.sizes) < 16 else "other"] += 1
        if face.mask is not None:
            self.masks += 1
        if face.aus is not None:
            self.expressions += 1
            self.units.update(face.aus.keys())
        if face.label is not None:
            self.labels[face.label] += 1
        self.affect += face.valence is not None and face.arousal is not None

    def add_mask(self, mask: Mask) -> None:
        """Count the pixels of a face's mask."""
        self.pixels += Image.fromarray(mask).histogram()[: len(CLASSES)]

    def reject(self, reject: Reject, on_error: str) -> None:
        """Count a reject, or raise ValueError where `on_error` is "fail"."""
        if on_error == "fail":
            raise_reject(reject)
        self.rejected.append(reject)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {
            "examples": self.examples, "masks": self.masks, "with_units": self.expressions, "with_affect": self.affect,
            "units": dict(self.units), "labels": {str(label): count for label, count in sorted(self.labels.items())},
            "sizes": dict(self.sizes), "class_pixels": self.pixels.tolist(), "rejected": [list(each) for each in self.rejected],
        }  # fmt: skip
