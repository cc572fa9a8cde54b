"""What a split holds: its shards, which of their records a stream can use, and how expressions are distributed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from seghgan_tf.data.folder import DATASET_FILE, SPLITS, read_dataset_json, split_of
from seghgan_tf.data.parse import parse_expressions, parse_masks
from seghgan_tf.expressions import AUS, ExpressionSpace

Folders = Path | str | Sequence[Path | str]

SURVEY_LIMIT = 100_000
"""Most records that are read before a stream starts, to count what is usable."""
SHOWN = 0.2
"""Smallest value of a vector that counts as an expression (one of five for action units)."""
PARSED_TOGETHER = 64
"""Records that are parsed by one call."""
_OPEN_SHARDS = 16

_log = logging.getLogger(__name__)


class Source(NamedTuple):
    """Where a stream comes from: its folders, their shards, the examples in these, and how records become examples.

    `usable` is how many of the examples a stream can use, by the counts of `dataset.json`, and `side` that of their pictures; None where
    these do not tell. `parse` makes examples of a batch of records and says which of them can be used.
    """

    folders: tuple[Path, ...]
    split: str
    files: tuple[str, ...]
    examples: int
    usable: int | None
    side: int | None
    parse: Callable[[Any], tuple[dict[str, Any], Any]]
    needs: str

    def select(self, records: Any) -> dict[str, Any]:
        """Parse serialised records (B,), and leave out those that lack what is needed."""
        examples, known = self.parse(records)
        if self.usable == self.examples:  # to look for them costs a copy of all
            return examples
        return {key: tf.boolean_mask(values, known) for key, values in examples.items()}


class Survey(NamedTuple):
    """What was read of a source: records `read`, how many are `usable`, and how many of these fall in each bucket.

    A vector's bucket is that of its largest absolute value and its sign; one below SHOWN throughout goes to the last bucket. Of N
    labels, buckets 0..N-1 are the labels, N..2N-1 the labels with a negative sign, 2N is "none".
    `complete` is False where only the first SURVEY_LIMIT records were read.
    """

    read: int
    usable: int
    buckets: tuple[int, ...]
    complete: bool


def folders_of(folder: Folders) -> tuple[Path, ...]:
    """Return one folder, or several, as a tuple of paths."""
    return (Path(folder),) if isinstance(folder, str | Path) else tuple(Path(each) for each in folder)


def _shards(folder: Path, split: dict[str, Any], name: str) -> list[str]:
    """Return the shard files of a split that has examples. Raises ValueError where one is not there, or not as long as it was."""
    files = [folder / shard["file"] for shard in split["shards"]] or sorted(folder.glob(f"{name}-*.tfrecord"))
    missing = [file.name for file in files if not file.is_file()] or ([] if files else [f"{name}-*.tfrecord"])
    lengths = {shard["file"]: shard["bytes"] for shard in split["shards"] if "bytes" in shard}
    torn = [
        file.name
        for file in files
        if not missing and lengths.get(file.name, file.stat().st_size) != file.stat().st_size
    ]
    if missing or torn:
        raise ValueError(
            f"`{folder / DATASET_FILE}` must list whole shards that lie beside it; check the folder with `seghgan data validate {folder}`. "
            f"Received: a folder {'without' if missing else 'with a damaged'} {', '.join(missing or torn)}"
        )
    return [str(file) for file in files]


def _source(
    folder: Folders,
    split: str,
    parse: Callable[[Any], tuple[dict[str, Any], Any]],
    usable: Callable[[dict[str, Any]], int | None],
    needs: str,
) -> Source:
    folders = folders_of(folder)
    if not folders:
        raise ValueError(
            "`data` must name at least one folder, written by `seghgan data convert` or `seghgan data draw`. Received: none"
        )
    descriptions = {each: read_dataset_json(each) for each in folders}
    entries = {each: entry for each in folders if (entry := split_of(descriptions[each], split))["examples"]}
    if not entries:
        lists = (f"`{each / DATASET_FILE}` lists with examples ({_splits(descriptions[each])})" for each in folders)
        raise ValueError(
            f"`split` must be one that {' or '.join(lists)}; write others with `seghgan data convert`. Received: {split}"
        )
    if len(entries) < len(folders):
        without = ", ".join(str(each) for each in folders if each not in entries)
        _log.warning("%s: no %s examples; the other folders are read", without, split)
    files = tuple(file for each, entry in entries.items() for file in _shards(each, entry, split))
    counts = [usable(entry) for entry in entries.values()]
    examples = sum(int(entry["examples"]) for entry in entries.values())
    known = None if None in counts else sum(filter(None, counts))
    sides = {descriptions[each].get("image_size") for each in entries}
    side = sides.pop() if len(sides) == 1 else None
    return Source(tuple(entries), split, files, examples, known, side, parse, needs)


def _splits(description: dict[str, Any]) -> str:
    return ", ".join(name for name in SPLITS if split_of(description, name)["examples"]) or "none"


def expression_source(folder: Folders, split: str, space: ExpressionSpace) -> Source:
    """Find the records that carry expressions of `space`. Raises ValueError where a folder cannot have them."""
    pairs = set(space.labels) <= set(AUS)  # a target has no other expression
    for each in folders_of(folder):
        description = read_dataset_json(each)
        _check_space(each / DATASET_FILE, description.get("expression"), space)
        pairs = pairs and bool(description.get("pairs"))
    needs = f"{'one of the labels' if space.one_hot else 'values of'} {', '.join(space.labels)}"
    source = _source(
        folder,
        split,
        lambda records: parse_expressions(records, space, pairs),
        lambda entry: _counted(entry, space, pairs),
        needs,
    )
    if source.usable == 0:
        entries = [split_of(read_dataset_json(each), split) for each in source.folders]
        has = sorted({name for entry in entries for name in _spaces(entry)})
        mend = f"which have {' and '.join(has)}; set model.expression_space={has[0]}" if has else "which have none"
        raise ValueError(
            f"`model.expression_space` must be one of the data, {mend}, or add {needs} with `seghgan data convert`. "
            f"Received: {', '.join(space.labels)} for {_names(source)}"
        )
    return source


def _spaces(entry: dict[str, Any]) -> list[str]:
    """Return the spaces that a split's counts show, by the names that `model.expression_space` takes."""
    units = [unit for unit in AUS if entry["units"].get(unit, 0)]
    named = "aus" if len(units) == len(AUS) else ",".join(units)
    found = {"emotions": any(entry["labels"].values()), "va": entry["with_affect"], named: units}
    return [name for name, there in found.items() if there]


def _counted(entry: dict[str, Any], space: ExpressionSpace, pairs: bool) -> int | None:
    """Return how many records of a split carry an expression, by its counts; None where these do not tell."""
    if not {"labels", "units", "with_affect"} <= entry.keys():
        return None
    if space.one_hot:
        return sum(entry["labels"].values())
    if not set(space.labels) <= set(AUS):
        return int(entry["with_affect"])
    counts = {entry["units"].get(unit, 0) for unit in space.labels}
    if 0 in counts:
        return 0
    all_or_none = counts == {entry["with_units"]} and (not pairs or entry["with_target"] in (0, entry["examples"]))
    if not all_or_none:
        return None
    return min(entry["with_units"], entry["with_target"]) if pairs else int(entry["with_units"])


def mask_source(folder: Folders, split: str) -> Source:
    """Find the records that carry masks. Raises ValueError where no folder has the split."""
    return _source(folder, split, parse_masks, lambda entry: entry.get("masks"), "a mask")


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


def bucket_of(expression: Any) -> Any:
    """Return the bucket (int32) of each vector, for vectors of shape (..., N); `Survey` says what it means."""
    size = expression.shape[-1]
    signed = tf.concat([expression, -expression], axis=-1)
    strongest = tf.argmax(signed, axis=-1, output_type=tf.int32)
    return tf.where(tf.reduce_max(signed, axis=-1) >= SHOWN, strongest, 2 * size)


def usable_examples(source: Source) -> int | None:
    """Return how many examples a stream of the source has; None where even SURVEY_LIMIT records do not tell.

    Records are read only where `dataset.json` does not count what is needed. Raises ValueError where none is usable.
    """
    if source.usable is not None:
        _report(source, source.examples, source.usable)
        return source.usable
    found = survey(source)
    return found.usable if found.complete else None


def survey(source: Source) -> Survey:
    """Read a source's records, SURVEY_LIMIT at most, and count. Raises ValueError for broken records or none that is usable."""

    def look(records: Any) -> tuple[Any, Any, Any]:
        chosen = source.select(records)
        buckets = bucket_of(chosen["expression"]) if "expression" in chosen else tf.constant([], tf.int32)
        return tf.size(records), tf.shape(chosen["image"])[0], buckets

    records = read_records(source.files, (1, 0), None).take(SURVEY_LIMIT).batch(PARSED_TOGETHER)
    try:
        seen = list(records.map(look, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1).as_numpy_iterator())
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"`data` must hold whole records of this schema; find the broken one with `seghgan data validate`. Received: {_names(source)} ({error.message})"
        ) from error
    read, usable = (sum(int(each[i]) for each in seen) for i in (0, 1))
    _report(source, read, usable)
    buckets = np.bincount(np.concatenate([each[2] for each in seen]))
    return Survey(read, usable, tuple(buckets.tolist()), read < SURVEY_LIMIT)


def _report(source: Source, read: int, usable: int) -> None:
    if not usable:
        raise ValueError(
            f"`data` must hold records with {source.needs}; look at it with `seghgan data inspect` and add what is missing with "
            f"`seghgan data convert`. Received: {_names(source)}, whose split {source.split} has {read} records, all without"
        )
    if usable < read:
        left_out = "%s: left out %d of %d %s records, which lack %s"
        _log.warning(left_out, _names(source), read - usable, read, source.split, source.needs)


def _names(source: Source) -> str:
    return ", ".join(str(folder) for folder in source.folders)


def read_records(
    files: Sequence[str], share: tuple[int, int], seed: Any, deterministic: bool = True
) -> tf.data.Dataset:
    """Read serialised records; `share` is (how many workers, which one), `seed` shuffles the shards. Whole shards are shared out where there are enough."""
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
