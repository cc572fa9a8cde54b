"""One shard: its photos opened, its records written aside, synced and given their name; the unit that runners share out."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from seghgan_tf.data.folder import Tally, shard_entry, shard_name
from seghgan_tf.data.schema import encode_face
from seghgan_tf.files import sync, write_atomically
from seghgan_tf.photos import Rejected
from tfrecords_tools.convert.plan import PLAN, Plan, raise_reject
from tfrecords_tools.faces import Picturing, make_faces
from tfrecords_tools.photo import Reject, brief, readable

JOURNAL = ".journal"
"""Folder beside the shards that holds the plan and what is done, until all is."""


class Stopped(Exception):  # noqa: N818 - not an error
    """Raised in a worker whose conversion is being stopped."""


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
    tally, rejected, photos = Tally(), list[Reject](), 0
    how = Picturing(**request["picturing"])
    part = journal / f"{name}.{os.getpid()}.part"
    try:
        with tf.io.TFRecordWriter(os.fspath(part)) as writer:
            for photo in plan.photos(split, number):
                if stopped():
                    raise Stopped
                try:
                    faces = make_faces(photo, how, request["dataset"], tally)
                    photos += 1
                except Rejected as error:
                    rejected.append(Reject(brief(readable(photo.name)), error.reason, brief(error.detail)))
                    faces = []
                    if on_error == "fail":
                        raise_reject(rejected[-1])
                for face in faces:
                    writer.write(encode_face(face))
                tick()
        sync(part)
        entry = {**shard_entry(part, tally.totals["examples"]), "file": name}
        result = {**entry, **tally.to_json(), "photos": photos, "rejected": rejected}
        part.rename(output / name)
    except tf.errors.OpError as error:
        raise OSError(f"`output` must take the shards; {output} does not: {error.message}") from error
    finally:
        plan.close()
        part.unlink(missing_ok=True)
    sync(output)
    write_atomically(done_path, json.dumps(result))
    return result


def _done(output: Path, path: Path) -> dict[str, Any] | None:
    """Return what a finished shard holds, None where it is not finished."""
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
        whole = (output / result["file"]).stat().st_size == result["bytes"]
    except FileNotFoundError:
        return None
    return result if whole else None
