"""Write pairs by person: a folder of TFRecords whose photos have a true picture of the same person at other action units."""

import contextlib
import itertools
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seghgan_tf.data.folder import SPLITS, Tally, describe, new_folder, storable, write_dataset_json, write_shard
from seghgan_tf.data.schema import Face
from seghgan_tf.expressions import AUS, EMOTION_AUS, EMOTIONS
from seghgan_tf.photos import Rejected
from tfrecords_tools.accounts import Accounts
from tfrecords_tools.actions import ActionTable, joined
from tfrecords_tools.convert.local import map_in_processes
from tfrecords_tools.convert.plan import too_few, two_splits
from tfrecords_tools.images import encode_image
from tfrecords_tools.photo import Note, Photo, Reason, Reject, brief, readable
from tfrecords_tools.portraits import framed
from tfrecords_tools.readers import read_dataset
from tfrecords_tools.rejects import Reasons, check_sum, open_rejects
from tfrecords_tools.sitters import Made, find_sitters, make_sitting, sittings, without_sitter

SHARD = 512
ALONE = "no other photo of the same subject and view that can be used shows another expression"
Progress = Callable[[int, int], None]
"""Called with people done and people of all."""


class Listing(NamedTuple):
    """What a data set holds: photos, what cannot be used of it, and what `dataset.json` says of its `files`, `rows`, `ignored` and `joins`."""

    photos: list[Photo]
    rejected: list[Reject]
    counts: dict[str, Any]


class Likeness(NamedTuple):
    """Photos of one person in one view, and how they become pictures."""

    photos: tuple[Photo, ...]
    source: str
    size: int
    jpeg_quality: int


def split_people(count: int) -> list[str]:
    """Return the split of each of `count` people in order.

    Those after the last full ten (or the last one, where that leaves none) are for validation, of the others each fifth for test.

    >>> [split_people(86).count(split) for split in ("train", "validation", "test")], split_people(5)
    ([64, 6, 16], ['train', 'train', 'train', 'train', 'validation'])
    """
    first = count - count % 10 if count > 10 and count % 10 else max(1, count - 1)
    return ["validation" if n >= first else "test" if n % 5 == 4 else "train" for n in range(count)]


def convert_pairs(
    dataset: str, source: Path, output: Path, *, actions: ActionTable | None = None, taught: bool = False, size: int = 256,
    seed: int = 1, jpeg_quality: int = 95, workers: int = 1, options: dict[str, Any] | None = None, min_kept: float = 0.1,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the people of a data set as pairs, and return what `dataset.json` says.

    Photos of one subject and view are paired both ways, aligned by eyes and nose, and asked with the other's action units:
    those of `actions`, else those of its emotion. `taught` (london) adds units that the photos lack by moving landmarks. The
    same arguments give the same pictures. People are in the split that the data set names (where it names one for some, the
    others are for training), else in that of `split_people`. Each photo in no pair is in `rejected.csv`. Raises ValueError for a
    source without pairs, or of which less than the share `min_kept` is in one, two splits for one person, and an output that
    holds something.

    Example: `convert_pairs("london", Path("london"), Path("pairs"), actions=ActionTable("london/aus.csv"), taught=True)`
    """
    output = storable(output)
    _check(dataset, output, taught, size)
    photos, rejected, counts = read_photos(dataset, source, actions, options or {})
    make: Callable[[Any], Made]
    work: Sequence[Any]
    if taught:
        sitters = find_sitters(photos)
        rejected += without_sitter(photos, sitters)
        splits = split_people(len(sitters))
        make, work = make_sitting, sittings(sitters, splits, seed, size, jpeg_quality)
    else:
        make, (work, splits, alone) = make_likeness, _likenesses(photos, dataset, size, jpeg_quality)
        rejected += alone
    records: dict[str, list[Face]] = {split: [] for split in SPLITS}
    tallies = {split: Tally() for split in SPLITS}
    counts["photos"] = 0
    results = map_in_processes(make, list[Any](work), workers)
    for done, (split, made) in enumerate(zip(splits, results, strict=True), 1):
        records[split] += made.faces
        tallies[split].update({"class_pixels": made.pixels})
        rejected += made.rejected
        counts["photos"] += made.photos
        if progress is not None:
            progress(done, len(work))
    _check_kept(counts["photos"], rejected, min_kept)
    request = {
        "dataset": dataset, "pairs": True, "taught": taught, "size": size, "seed": seed, "jpeg_quality": jpeg_quality,
    }  # fmt: skip
    return _write(output, dataset, records, tallies, rejected, request, counts)


def _check(dataset: str, output: Path, taught: bool, size: int) -> None:
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"`output` must be a new folder; name another. Received: {output}, which holds files")
    if taught and dataset != "london":
        raise ValueError(f"`taught` needs the 189 landmarks of london; leave it out. Received: {dataset}")
    if size % 2 or not 64 <= size <= 1024:
        raise ValueError(f"`size` must be even, 64 to 1024 pixels. Received: {size}")


def _check_kept(kept: int, rejected: Sequence[Reject], least: float) -> None:
    reasons = Reasons(rejected)
    if reasons.counts and (not kept or kept < least * (kept + reasons.counts.total())):
        raise too_few(kept, reasons.most())


def read_photos(dataset: str, source: Path, actions: ActionTable | None, options: dict[str, Any]) -> Listing:
    """Return what a data set holds, with its action units. Raises ValueError as the reader does."""
    photos: dict[str, Photo] = {}
    rejected, joins = list[Reject](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(sqlite3.connect(":memory:")) as db:
        accounts = Accounts(db)
        entries = read_dataset(dataset, Path(source), options)
        for entry in entries if actions is None else joined(entries, actions, Path(folder)):
            if isinstance(entry, Note):
                joins[entry.text] += entry.number
                continue
            accounts.add(entry)
            if isinstance(entry, Reject):
                rejected.append(entry)
            elif photos.setdefault(entry.image_id, entry) is not entry:
                rejected.append(entry.reject(Reason.DUPLICATE, f"{entry.image_id} came before"))
        return Listing(list(photos.values()), rejected, {**accounts.count(Path(source)), "joins": dict(joins)})


def _likenesses(
    photos: Sequence[Photo], source: str, size: int, jpeg_quality: int
) -> tuple[list[Likeness], list[str], list[Reject]]:
    """Return the groups of photos that can be paired, the split of each (people are kept whole), and why other photos cannot."""
    groups: dict[tuple[str, str], list[Photo]] = {}
    alone = []
    for photo in photos:
        if photo.subject_id is None:
            alone.append(photo.reject(Reason.SUBJECT, "nothing says whom it shows"))
        elif units_of(photo) is None:
            alone.append(photo.reject(Reason.EXPRESSION, "neither its action units nor its emotion are known"))
        else:
            groups.setdefault((photo.subject_id, photo.view or ""), []).append(photo)
    alone += [photos[0].reject(Reason.PARTNER, ALONE) for photos in groups.values() if len(photos) == 1]
    paired = {key: group for key, group in sorted(groups.items()) if len(group) > 1}
    if not paired:
        raise ValueError(
            "`source` must hold photos of the same subject and view at several expressions, with an emotion or action units. "
            f"Received: {len(photos)} photos without such a pair"
        )
    split = _splits(photos, list(dict.fromkeys(subject for subject, _ in paired)))
    work = [Likeness(tuple(group), source, size, jpeg_quality) for group in paired.values()]
    return work, [split[subject] for subject, _ in paired], alone


def _splits(photos: Sequence[Photo], people: Sequence[str]) -> dict[str, str]:
    """Return the split of each person: the one that a photo of it names; where none names any, those of `split_people`, else train.

    Raises ValueError where two are named for one person.
    """
    named: dict[str, str] = {}
    for photo in photos:
        if photo.subject_id is not None and photo.split is not None:
            first = named.setdefault(photo.subject_id, photo.split)
            if first != photo.split:
                raise two_splits(photo, first)
    if not named:
        return dict(zip(people, split_people(len(people)), strict=True))
    return {person: named.get(person, "train") for person in people}


def units_of(photo: Photo) -> dict[str, float] | None:
    """Return what a photo shows, 0..5: its measured units, else all 17 of its emotion's prototype, None where neither is known."""
    if photo.aus is not None or photo.label is None:
        return photo.aus
    return {**dict.fromkeys(AUS, 0.0), **EMOTION_AUS[EMOTIONS[photo.label]]}


def make_likeness(work: Likeness) -> Made:
    """Return all pairs of a person's photos in one view, both ways."""
    pictures, rejected = [], []
    for photo in work.photos:
        try:
            pixels, _ = framed(photo.path, work.size)
        except Rejected as error:
            rejected.append(Reject(photo.name, error.reason, error.detail))
            continue
        pictures.append((photo, *encode_image(pixels, work.jpeg_quality), units_of(photo)))
    faces = [
        Face(
            image_id=f"{first.image_id}>{second.image_id}", image=image, image_format=image_format, height=work.size,
            width=work.size, source=work.source, subject_id=first.subject_id, aus=units, label=first.label,
            target_image=target, target_aus=target_units,
        )
        for (first, image, image_format, units), (second, target, _, target_units) in itertools.permutations(pictures, 2)
        if units != target_units
    ]  # fmt: skip
    alone = [photo for photo, *_, units in pictures if all(units == other[-1] for other in pictures)]
    rejected += [photo.reject(Reason.PARTNER, ALONE) for photo in alone]
    return Made(faces, [], rejected, len(pictures) - len(alone))


def _write(
    output: Path, source: str, records: dict[str, list[Face]], tallies: dict[str, Tally], rejected: Sequence[Reject],
    request: dict[str, Any], counts: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Write shards, `rejected.csv` and `dataset.json` aside, then give the folder its name. Raises ValueError for a file not accounted for."""
    shards: dict[str, list[dict[str, Any]]] = {}
    with new_folder(output) as part:
        for split, faces in records.items():
            random.Random(7).shuffle(faces)
            total = -(-len(faces) // SHARD)
            shards[split] = [
                write_shard(part, split, number, total, faces[number * SHARD :][:SHARD], tallies[split])
                for number in range(total)
            ]
        with open_rejects(part, part) as rejects:
            for reject in rejected:
                rejects.add(reject._replace(file=brief(readable(reject.file)), detail=brief(readable(reject.detail))))
        description = describe(source, request, shards, tallies, **counts, **rejects.to_json())
        check_sum(description)
        write_dataset_json(part, description)
    return description
