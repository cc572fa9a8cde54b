"""Merging folders of records into one: shards copied under new names, one `dataset.json`, nothing decoded."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seghgan_tf.data.schema import DATASET_FILE, read_dataset_json
from seghgan_tf.expressions import AUS, expression_space
from seghgan_tf.regions import CLASSES
from tfrecords_tools.census import Census, open_census
from tfrecords_tools.photo import readable
from tfrecords_tools.records import SPLITS, read_shard, sha256, storable, sync_folder, write_atomically
from tfrecords_tools.rejects import most_frequent, open_rejects

SUMMED = ("masks", "with_units", "with_affect")


def merge(folders: Sequence[Path], output: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Copy the shards of several folders into `output` and return what its `dataset.json` says.

    The expression space is the action units that all folders have, or the one space they share. `rejected.csv` has the rows of
    all folders, each file after its folder as given here. The folder appears when all of it is there. In memory is a line of
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
    part = output.with_name(f".{output.name}.merge-part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with open_census() as census:
            splits = _copy(folders, descriptions, part, census, progress)
        with open_rejects(part, part) as rejects:
            for folder, each in zip(folders, descriptions, strict=True):
                rejects.take_over(folder, each, readable(f"{folder}/"))
        description = {
            **_described(folders, descriptions, space, splits),
            "rejected": most_frequent(rejects.reasons), "excluded": most_frequent(rejects.excluded),
        }  # fmt: skip
        write_atomically(part / DATASET_FILE, (json.dumps(description, indent=1) + "\n").encode())
        if output.exists():
            output.rmdir()
        part.rename(output)
        sync_folder(output.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return description


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
    folders: Sequence[Path],
    descriptions: Sequence[dict[str, Any]],
    part: Path,
    census: Census,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """Copy and check all shards; return the splits of the new description."""
    splits: dict[str, Any] = {}
    total, done = sum(len(_shards(each, split)) for each in descriptions for split in SPLITS), 0
    for split in SPLITS:
        sources = [
            (folder, shard)
            for folder, each in zip(folders, descriptions, strict=True)
            for shard in _shards(each, split)
        ]
        entries = []
        for number, (folder, shard) in enumerate(sources):
            file = f"{split}-{number:05d}-of-{len(sources):05d}.tfrecord"
            path = folder / shard["file"]
            shutil.copyfile(path, part / file)
            if sha256(part / file) != shard["sha256"]:
                raise ValueError(
                    f"`folders` must be sound; look with `seghgan data validate {folder}`. Received: a damaged {path}"
                )
            _count(part / file, path, split, census)
            with (part / file).open("rb") as copied:
                os.fsync(copied.fileno())
            entries.append({**shard, "file": file, "bytes": (part / file).stat().st_size})
            done += 1
            if progress is not None:
                progress(done, total)
        splits[split] = {"examples": sum(entry["examples"] for entry in entries), "shards": entries}
    if torn := next(census.torn(), None):
        raise ValueError(
            "`folders` must agree on the split of each subject; convert them with the same seed and fractions, or as one. "
            f"Received: {torn[0]} in {torn[1]}"
        )
    return splits


def _count(copy: Path, path: Path, split: str, census: Census) -> None:
    for face in read_shard(copy):
        if not census.add_id(face.image_id):
            raise ValueError(f"`folders` must have no record in common. Received: {face.image_id} again in {path}")
        if face.subject_id is not None:
            census.add_subject(face.subject_id, split)


def _shards(description: dict[str, Any], split: str) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = description["splits"].get(split, {}).get("shards", [])
    return shards


def _described(
    folders: Sequence[Path],
    descriptions: Sequence[dict[str, Any]],
    space: dict[str, object] | None,
    splits: dict[str, Any],
) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    lists: dict[str, Counter[str]] = {key: Counter() for key in ("units", "labels", "sizes", "actions")}
    for each in descriptions:
        examples = sum(entry["examples"] for entry in each["splits"].values())
        drawn = (
            each.get("source") == "drawn"
        )  # drawn faces have everything, and their description says so by its source
        totals.update({key: each.get(key, examples if drawn and key != "with_affect" else 0) for key in SUMMED})
        for key, counter in lists.items():
            counter.update(each.get(key, {}))
        if drawn:
            lists["units"].update(dict.fromkeys(AUS, examples))
            lists["sizes"].update({f"{each['image_size']}x{each['image_size']}": examples})
    pixels = [sum(counts) for counts in zip(*map(_class_pixels, descriptions), strict=True)]
    whole, sizes = sum(pixels), {each.get("image_size") for each in descriptions}
    return {
        **{key: descriptions[0][key] for key in ("schema_version", "label_order", "tool_version")}, "classes": list(CLASSES),
        "source": "+".join(dict.fromkeys(str(each.get("source")) for each in descriptions)),
        "pairs": all(each.get("pairs") for each in descriptions),
        "request": {"merged": [each.get("request") for each in descriptions]},
        "image_size": sizes.pop() if len(sizes) == 1 else None, "splits": splits,
        "examples": sum(entry["examples"] for entry in splits.values()), **{key: totals[key] for key in SUMMED}, "expression": space,
        **{key: dict(lists[key]) for key in ("units", "labels", "sizes", "actions")},
        "class_pixels": pixels,
        "class_frequency": {name: round(count / whole, 6) for name, count in zip(CLASSES, pixels, strict=True)} if whole else {},
        "folders": [folder.name for folder in folders],
    }  # fmt: skip


def _class_pixels(description: dict[str, Any]) -> list[int]:
    """Return pixels of each class; for drawn faces, whose description has only frequencies, these times all their pixels."""
    if "class_pixels" in description:
        counts: list[int] = description["class_pixels"]
        return counts
    examples = sum(entry["examples"] for entry in description["splits"].values())
    frequency = description.get("class_frequency") or {}
    return [round(frequency.get(name, 0.0) * examples * (description.get("image_size") or 0) ** 2) for name in CLASSES]
