"""Merging folders of records into one: shards copied under new names, one `dataset.json`, nothing decoded."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from seghgan_tf.data.folder import (
    SPLITS,
    Tally,
    describe,
    new_folder,
    read_dataset_json,
    read_shard,
    shard_entry,
    shard_name,
    split_of,
    storable,
    tally_of,
    write_dataset_json,
)
from seghgan_tf.expressions import AUS, expression_space
from seghgan_tf.files import sync
from tfrecords_tools.census import Census, open_census
from tfrecords_tools.photo import readable
from tfrecords_tools.rejects import open_rejects


def merge(folders: Sequence[Path], output: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Copy the shards of several folders into `output` and return what its `dataset.json` says.

    The expression space is the action units that all folders have, or the one space they share. `rejected.csv` has the rows of
    all folders, each file after its folder, as far as their paths differ; nothing is put before the files of shares of one conversion. The folder appears when all of it is there. In memory is a line of
    `dataset.json` for each shard, about 250 bytes for 1024 records. Raises ValueError for spaces without anything in common, ids that are in two folders, subjects that are in two splits,
    damaged shards, and an output that holds anything.
    """
    output, folders = storable(output), [Path(folder) for folder in folders]
    if len(folders) < 2:
        raise ValueError(f"`folders` must be two or more. Received: {len(folders)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`output` must be a new folder. Received: {output}")
    descriptions = [read_dataset_json(folder) for folder in folders]
    space = common_space([each.get("expression") for each in descriptions])
    with new_folder(output) as part:
        shards = _copy(folders, descriptions, part, progress)
        with open_rejects(part, part) as rejects:
            for folder, each, place in zip(folders, descriptions, _places(folders, descriptions), strict=True):
                rejects.take_over(folder, each, place)
        description = describe(
            "+".join(dict.fromkeys(str(each.get("source")) for each in descriptions)),
            {"merged": [each.get("request") for each in descriptions]}, shards, _tallies(folders, descriptions),
            pairs=all(each.get("pairs") for each in descriptions), expression=space, folders=[folder.name for folder in folders],
            **{key: sum(each.get(key, 0) for each in descriptions) for key in ("files", "rows", "photos", "rejected_before")},
            **{key: _sum(each.get(key, {}) for each in descriptions) for key in ("ignored", "joins")}, **rejects.to_json(),
        )  # fmt: skip
        write_dataset_json(part, description)
    return description


def _places(folders: Sequence[Path], descriptions: Sequence[dict[str, Any]]) -> list[str]:
    """Return what goes before each folder's files in `rejected.csv`."""
    requests = [each.get("request") or {} for each in descriptions]
    shares = [each.get("share", [0, 1])[1] > 1 for each in requests]
    if all(shares) and all({**each, "share": None} == {**requests[0], "share": None} for each in requests):
        return [""] * len(folders)
    paths = [os.path.abspath(folder) for folder in folders]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [readable(f"{os.path.relpath(path, common)}/") for path in paths]


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def common_space(spaces: Sequence[dict[str, Any] | None]) -> dict[str, object] | None:
    """Return the space that folders of these spaces share. Raises ValueError where there is none; folders without one do not count."""
    known = [space for space in spaces if space]
    if not known:
        return None
    if all(set(space["labels"]) <= set(AUS) for space in known):
        shared = [unit for unit in AUS if all(unit in space["labels"] for space in known)]
        if shared:
            return expression_space(",".join(shared)).to_json()
    elif all(space == known[0] for space in known):
        return known[0]
    raise ValueError(
        "`folders` must have an expression space in common: the same one, or action units that all of them have. Received: "
        + "; ".join(", ".join(space["labels"]) for space in known)
    )


def _copy(
    folders: Sequence[Path], descriptions: Sequence[dict[str, Any]], part: Path, progress: Callable[[int, int], None] | None
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Copy and check all shards; return what the new description says of them."""
    pairs = list(zip(folders, descriptions, strict=True))
    sources = {
        split: sorted(
            ((folder, shard) for folder, each in pairs for shard in split_of(each, split)["shards"]),
            key=lambda source: source[1]["file"],  # as one machine would have written what several have
        )
        for split in SPLITS
    }
    shards: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    done, total = 0, sum(map(len, sources.values()))
    with open_census() as census:
        for split in SPLITS:
            for number, (folder, shard) in enumerate(sources[split]):
                path, copy = folder / shard["file"], part / shard_name(split, number, len(sources[split]))
                shutil.copyfile(path, copy)
                shards[split].append(shard_entry(copy, shard["examples"]))
                if shards[split][-1]["sha256"] != shard["sha256"]:
                    raise ValueError(
                        f"`folders` must be sound; look with `seghgan data validate {folder}`. Received: a damaged {path}"
                    )
                _count(copy, path, split, census)
                sync(copy)
                done += 1
                if progress is not None:
                    progress(done, total)
        if torn := next(census.torn(), None):
            raise ValueError(
                "`folders` must agree on the split of each subject; convert them with the same seed and fractions, or as one. "
                f"Received: {torn[0]} in {torn[1]}"
            )
    return shards


def _count(copy: Path, path: Path, split: str, census: Census) -> None:
    for face in read_shard(copy):
        if not census.add_id(face.image_id):
            raise ValueError(f"`folders` must have no record in common. Received: {face.image_id} again in {path}")
        if face.subject_id is not None:
            census.add_subject(face.subject_id, split)


def _tallies(folders: Sequence[Path], descriptions: Sequence[dict[str, Any]]) -> dict[str, Tally]:
    counted = {}
    for split in SPLITS:
        each = (tally_of(folder, told, split) for folder, told in zip(folders, descriptions, strict=True))
        counted[split] = Tally(*(tally.to_json() for tally in each))
    return counted
