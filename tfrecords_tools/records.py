"""Reading records back: the faces of a shard, of a split or of a whole folder, one at a time."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from seghgan_tf.data.schema import Face, decode_face
from tfrecords_tools.photo import readable

SPLITS = ("train", "validation", "test")


def storable(folder: Path) -> Path:
    """Return a folder that is to hold records. Raises ValueError where its path is no UTF-8, which TensorFlow does not open."""
    folder = Path(folder)
    path = os.fspath(folder.absolute())
    if readable(path) != path:
        raise ValueError(
            f"`output` must be a path in UTF-8 because TensorFlow opens no other; name another folder. Received: {readable(path)}"
        )
    return folder


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


def read_split(folder: Path, description: dict[str, Any], split: str) -> Iterator[Face]:
    """Yield the faces of a split in the order of its shards."""
    for shard in description["splits"].get(split, {}).get("shards", ()):
        yield from read_shard(Path(folder) / shard["file"])


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, aside: Path | None = None) -> None:
    """Write a file in the folder `aside` (or its own), sync it to the disk and give it its name: it is never seen half written."""
    part = (aside or path.parent) / f"{path.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
