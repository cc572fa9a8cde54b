"""What a split holds: its shards, which of their records a stream can use, and how expressions are distributed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seghgan_tf.data.schema import DATASET_FILE, FEATURES, read_dataset_json
from seghgan_tf.expressions import AUS, EMOTIONS, MAX_INTENSITY, ExpressionSpace

Folders = Path | str | Sequence[Path | str]

SURVEY_LIMIT = 100_000
"""Most records that are read before a stream starts, to count what is usable."""
SHOWN = 0.2
"""Smallest value of a vector that counts as an expression (one of five for action units)."""
PARSED_TOGETHER = 64
"""Records that are parsed by one call."""
_OPEN_SHARDS = 16

_log = logging.getLogger(__name__)


class Survey(NamedTuple):
    """What a split holds for a stream: records `read`, how many are `usable`, and how many of these fall in each bucket.

    Buckets are the labels of the space, the labels with a negative sign, and "none of them" (see `survey_expressions`).
    `complete` is False where only the first SURVEY_LIMIT records were read.
    """

    read: int
    usable: int
    buckets: tuple[int, ...]
    complete: bool


class Source(NamedTuple):
    """Where a stream comes from: its folders, their shards, the examples in these, and how records become examples."""

    folders: tuple[Path, ...]
    split: str
    files: tuple[str, ...]
    examples: int
    select: Callable[[Any], dict[str, Any]]
    needs: str


def survey_expressions(folder: Folders, split: str, space: ExpressionSpace) -> Survey:
    """Count the records of a split that a stream of `space` can use, and how their expressions are distributed.

    A vector's bucket is that of its largest absolute value and its sign; one below SHOWN throughout goes to the last bucket. Of N
    labels, buckets 0..N-1 are the labels, N..2N-1 the labels with a negative sign, 2N is "none". Raises ValueError as the streams do.
    """
    return survey(expression_source(folder, split, space))


def folders_of(folder: Folders) -> tuple[Path, ...]:
    """Return one folder, or several, as a tuple of paths."""
    return (Path(folder),) if isinstance(folder, str | Path) else tuple(Path(each) for each in folder)


def _shards(folder: Path, split: str) -> tuple[list[str], int]:
    """Return the shard files of a split and the number of examples in them; none where the folder has no such split."""
    path = folder / DATASET_FILE
    entry = (read_dataset_json(folder).get("splits") or {}).get(split) or {}
    if not entry.get("examples"):
        return [], 0
    files = [folder / shard["file"] for shard in entry.get("shards", ())] or sorted(folder.glob(f"{split}-*.tfrecord"))
    missing = [file.name for file in files if not file.is_file()] or ([] if files else [f"{split}-*.tfrecord"])
    if missing:
        raise ValueError(
            f"`{path}` must list shards that lie beside it; check the folder with `seghgan data validate {folder}`. "
            f"Received: a folder without {', '.join(missing)}"
        )
    return [str(file) for file in files], int(entry["examples"])


def _source(folder: Folders, split: str, select: Callable[[Any], dict[str, Any]], needs: str) -> Source:
    folders = folders_of(folder)
    if not folders:
        raise ValueError(
            "`data` must name at least one folder, written by `seghgan data convert` or `seghgan data draw`. Received: none"
        )
    shards = {each: _shards(each, split) for each in folders}
    filled = tuple(each for each in folders if shards[each][0])
    if not filled:
        raise ValueError(
            f"`split` must be one that {' or '.join(map(_splits, folders))}; write others with `seghgan data convert`. "
            f"Received: {split}"
        )
    if len(filled) < len(folders):
        without = ", ".join(str(each) for each in folders if each not in filled)
        _log.warning("%s: no %s examples; the other folders are read", without, split)
    files = tuple(file for each in filled for file in shards[each][0])
    return Source(filled, split, files, sum(shards[each][1] for each in filled), select, needs)


def _splits(folder: Path) -> str:
    splits = read_dataset_json(folder).get("splits") or {}
    names = ", ".join(name for name, entry in splits.items() if entry.get("examples")) or "none"
    return f"`{folder / DATASET_FILE}` lists with examples ({names})"


def expression_source(folder: Folders, split: str, space: ExpressionSpace) -> Source:
    """Find the records that carry expressions of `space`. Raises ValueError where a folder cannot have them."""
    pairs = set(space.labels) <= set(AUS)  # a target has no other expression
    for each in folders_of(folder):
        description = read_dataset_json(each)
        _check_space(each / DATASET_FILE, description.get("expression"), space)
        pairs = pairs and bool(description.get("pairs"))
    needs = f"{'one of the labels' if space.one_hot else 'values of'} {', '.join(space.labels)}"
    return _source(folder, split, lambda records: _select_expressions(records, space, pairs), needs)


def mask_source(folder: Folders, split: str) -> Source:
    """Find the records that carry masks. Raises ValueError where no folder has the split."""
    return _source(folder, split, _select_masks, "a mask")


def _check_space(path: Path, stored: dict[str, Any] | None, space: ExpressionSpace) -> None:
    wanted = ", ".join(space.labels)
    if not stored:
        raise ValueError(
            f"`{path}` must describe an expression space because the model edits {wanted}; add labels or an OpenFace CSV with "
            "`seghgan data convert`. Received: data without expressions"
        )
    labels = stored.get("labels", ())
    if set(labels) <= set(AUS) and set(space.labels) <= set(AUS) and not set(space.labels) <= set(labels):
        raise ValueError(
            f"`{path}` must hold the model's expression space ({wanted}); convert the data with these action units, or set "
            f"`model.expression_space` to some of those it has. Received: {', '.join(labels)}"
        )


def _select_expressions(records: Any, space: ExpressionSpace, pairs: bool) -> dict[str, Any]:
    """Parse serialised records and keep those whose expression is known: `image` (bytes), `expression`, and targets if `pairs`."""
    keys = [key for key in FEATURES if key.startswith(("expression/", "target/") if pairs else "expression/")]
    parsed = tf.io.parse_example(records, {key: FEATURES[key] for key in (*keys, "image/encoded")})
    if space.one_hot:
        label = parsed["expression/label"]
        expression = tf.one_hot(label, space.size)
        known = (label >= 0) & (label < len(EMOTIONS))
    else:
        if "expression/" + space.labels[0] in parsed:  # valence and arousal
            expression = tf.stack([parsed[f"expression/{label}"] for label in space.labels], axis=-1)
        else:
            expression = _intensities(parsed, "expression", space)
        known = _all_known(expression)
    chosen = {"image": parsed["image/encoded"], "expression": expression}
    if pairs:
        target = _intensities(parsed, "target", space)
        known &= _all_known(target) & (parsed["target/encoded"] != "")
        chosen |= {"target_image": parsed["target/encoded"], "target_expression": target}
    return {key: tf.boolean_mask(values, known) for key, values in chosen.items()}


def _all_known(vectors: Any) -> Any:
    return tf.reduce_all(~tf.math.is_nan(vectors), axis=-1)


def _intensities(parsed: dict[str, Any], prefix: str, space: ExpressionSpace) -> Any:
    """Return the action units of `space` as (B, N) in 0..1, NaN where a record does not name one."""
    names = tf.sparse.to_dense(parsed[f"{prefix}/names"])[..., None]
    values = tf.sparse.to_dense(parsed[f"{prefix}/aus"])[..., None]
    named = names == tf.constant(space.labels)  # (B, names, N)
    found = tf.reduce_sum(tf.where(named, values, 0.0), axis=1) / MAX_INTENSITY
    return tf.where(tf.reduce_any(named, axis=1), found, float("nan"))


def _select_masks(records: Any) -> dict[str, Any]:
    parsed = tf.io.parse_example(records, {key: FEATURES[key] for key in ("image/encoded", "mask/encoded")})
    known = parsed["mask/encoded"] != ""
    return {
        "image": tf.boolean_mask(parsed["image/encoded"], known),
        "mask": tf.boolean_mask(parsed["mask/encoded"], known),
    }


def bucket_of(expression: Any) -> Any:
    """Return the bucket (int32) of each vector, for vectors of shape (..., N); `survey_expressions` says what it means."""
    size = expression.shape[-1]
    signed = tf.concat([expression, -expression], axis=-1)
    strongest = tf.argmax(signed, axis=-1, output_type=tf.int32)
    return tf.where(tf.reduce_max(signed, axis=-1) >= SHOWN, strongest, 2 * size)


def survey(source: Source) -> Survey:
    """Read a source's records, SURVEY_LIMIT at most, and count. Raises ValueError for broken records or none that is usable."""

    def count(records: Any) -> tuple[Any, Any, Any]:
        chosen = source.select(records)
        buckets = bucket_of(chosen["expression"]) if "expression" in chosen else tf.constant([], tf.int32)
        return tf.size(records), tf.shape(chosen["image"])[0], tf.math.bincount(buckets)

    records = read_records(source.files, (1, 0), None).take(SURVEY_LIMIT).batch(PARSED_TOGETHER)
    read = usable = 0
    buckets = np.zeros(0, np.int64)
    try:
        for size, kept, counts in (
            records.map(count, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1).as_numpy_iterator()
        ):
            read, usable = read + int(size), usable + int(kept)
            grown = np.zeros(max(len(buckets), len(counts)), np.int64)
            grown[: len(buckets)] += buckets
            grown[: len(counts)] += counts
            buckets = grown
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"`data` must hold whole records of this schema; find the broken one with `seghgan data validate`. Received: {_names(source)} ({error.message})"
        ) from error
    _report(source, read, usable)
    return Survey(read, usable, tuple(buckets.tolist()), read < SURVEY_LIMIT)


def _report(source: Source, read: int, usable: int) -> None:
    if not usable:
        raise ValueError(
            f"`data` must hold records with {source.needs}; look at it with `seghgan data inspect` and add what is missing with "
            f"`seghgan data convert`. Received: {_names(source)}, whose split {source.split} has {read} records, all without"
        )
    if usable < read:
        _log.warning(
            "%s: left out %d of %d %s records, which lack %s",
            _names(source),
            read - usable,
            read,
            source.split,
            source.needs,
        )


def _names(source: Source) -> str:
    return ", ".join(str(folder) for folder in source.folders)


def read_records(
    files: Sequence[str], share: tuple[int, int], seed: int | None, deterministic: bool = True
) -> tf.data.Dataset:
    """Read serialised records; `share` is (how many workers, which one). Whole shards are shared out where there are enough."""
    workers, index = share
    if len(files) >= workers:
        files, workers, index = files[index::workers], 1, 0
    paths = tf.data.Dataset.from_tensor_slices(list(files))
    if seed is not None:
        paths = paths.shuffle(len(files), seed)
    return paths.interleave(
        lambda path: tf.data.TFRecordDataset(path).shard(workers, index),
        cycle_length=min(len(files), _OPEN_SHARDS),
        block_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=deterministic,
    )
