"""Checking a folder of records: digests, every record and picture, ids, ranges, label order, subjects apart."""

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from seghgan_tf.data.folder import SPLITS, read_dataset_json, read_shard, split_of
from seghgan_tf.data.schema import Face, decode_mask
from seghgan_tf.expressions import AUS, EMOTIONS, MAX_INTENSITY
from seghgan_tf.files import sha256
from seghgan_tf.photos import BROKEN, Rejected
from seghgan_tf.regions import CLASSES
from tfrecords_tools.census import digest_of, open_census
from tfrecords_tools.convert.local import map_in_processes
from tfrecords_tools.convert.shard import JOURNAL
from tfrecords_tools.masks import LIKE, LIKE_ONE, LIKE_SEEN, Arrangement, arrangement, looks_mirrored
from tfrecords_tools.photo import Reason

LISTED = 10_000
"""Problems that are listed; further ones are counted, so that memory stays bounded in a folder where all is wrong."""


NAMED = 20
"""Masks that a warning names."""


class ShardCheck(NamedTuple):
    """What was found in one shard: problems, each record's id, subject and digest, the relations that its masks hold, of how many, and which have
    left and right exchanged."""

    split: str
    problems: list[str]
    people: list[tuple[str, str | None, bytes]]
    relations: tuple[int, int] = (0, 0)
    exchanged: Sequence[str] = ()


def validate(
    folder: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Check a folder that `convert` or `draw_dataset` wrote and return what is wrong with it (LISTED at most), nothing for a sound one.

    `progress` is called with shards checked and shards of all, `warn` with what is odd and may yet be so. Raises ValueError for a folder without a `dataset.json` of our schema.
    """
    folder = Path(folder)
    description = read_dataset_json(folder)
    problems = list(_check_description(folder, description))
    shards = [(str(folder), split, shard) for split in SPLITS for shard in split_of(description, split)["shards"]]
    held = seen = 0
    found, exchanged = _Problems(problems), _Problems([])
    with open_census() as census:
        for done, check in enumerate(map_in_processes(check_shard, shards, workers), 1):
            held, seen = held + check.relations[0], seen + check.relations[1]
            found.add(check.problems)
            exchanged.add(check.exchanged)
            for image_id, subject, digest in check.people:
                if not census.add_id(image_id):
                    found.add([f"{check.split}: the id {image_id} is there twice"])
                if subject is not None:
                    census.add_subject(subject, check.split)
                census.add_picture(digest, image_id, check.split)
            if progress is not None:
                progress(done, len(shards))
        found.add(f"the subject {subject} is in several splits: {splits}" for subject, splits in census.torn())
        found.add(f"the same picture is in several splits: {twins}" for twins in census.twins())
    if exchanged.listed:
        warn(_told(exchanged))
    if seen and held < LIKE * seen:
        share = f"{held / seen:.0%} of the cases"
        found.add([f"masks: parts lie where faces have them in only {share}; is it another label order, or mirrored?"])
    return [*problems, f"and {found.more} problems more"] if found.more else problems


class _Problems:
    """A list of problems that ends at LISTED, from where on they are counted."""

    def __init__(self, listed: list[str]) -> None:
        self.listed, self.more = listed, 0

    def add(self, problems: Iterable[str]) -> None:
        """Take in problems."""
        for problem in problems:
            if len(self.listed) < LISTED:
                self.listed.append(problem)
            else:
                self.more += 1


def _told(exchanged: _Problems) -> str:
    names = ", ".join(exchanged.listed[:NAMED]) + (", ..." if len(exchanged.listed) > NAMED else "")
    count = len(exchanged.listed) + exchanged.more
    return f"masks with left and right exchanged, as about one in 15 of CelebAMask-HQ has them: {count} ({names})"


def _check_description(folder: Path, description: dict[str, Any]) -> Iterator[str]:
    listed = {shard["file"] for split in SPLITS for shard in split_of(description, split)["shards"]}
    for path in sorted(folder.glob("*.tfrecord")):
        if path.name not in listed:
            yield f"{path.name}: is not in dataset.json"
    if (folder / JOURNAL).exists():
        yield f"{JOURNAL}: a conversion in this folder was not finished; give the same command again"
    if description.get("classes") not in (None, list(CLASSES)):
        yield "dataset.json: classes are not those of this program"
    for split in SPLITS:
        told = split_of(description, split)["examples"]
        if told != (held := sum(shard["examples"] for shard in split_of(description, split)["shards"])):
            yield f"{split}: dataset.json tells of {told} examples, its shards of {held}"


def check_shard(task: tuple[str, str, dict[str, Any]]) -> ShardCheck:
    """Check one shard, given as its folder, split and entry in `dataset.json`."""
    folder, split, shard = task
    path = Path(folder) / shard["file"]
    problems: list[str] = []
    people: list[tuple[str, str | None, bytes]] = []
    exchanged: list[str] = []
    held = seen = 0
    if not path.is_file():
        return ShardCheck(split, [f"{path.name}: is not there"], people)
    if sha256(path) != shard["sha256"]:
        problems.append(f"{path.name}: its SHA-256 is not the one in dataset.json")
    try:
        for face in read_shard(path):
            people.append((face.image_id, face.subject_id, digest_of(face.image)))
            try:
                own = check_face(face)
            except Rejected as error:
                problems.append(f"{path.name}: {face.image_id}: {error.detail}")
                continue
            held, seen = held + own.held, seen + own.seen
            exchanged += [face.image_id] * own.exchanged
    except ValueError as error:
        problems.append(f"{path.name}: {error}")
    if len(people) != shard["examples"]:
        problems.append(f"{path.name}: holds {len(people)} records, dataset.json tells of {shard['examples']}")
    return ShardCheck(split, problems, people, (held, seen), exchanged)


def check_face(face: Face) -> Arrangement:
    """Check one record's pictures and numbers; returns how the parts of a face lie in its mask. Raises Rejected."""
    if not face.image_id:
        _fail("it has no id")
    size = _decoded_size(face.image, face.image_format)
    if size != (face.width, face.height):
        _fail(f"its image is {size[0]} x {size[1]}, the record tells of {face.width} x {face.height}")
    _check_numbers(face)
    if face.alignment is not None and (len(face.alignment) != 6 or not np.isfinite(face.alignment).all()):
        _fail("its alignment is no 2 x 3 matrix")
    if face.target_image is not None and _decoded_size(face.target_image, face.image_format) != size:
        _fail("its target has another size")
    return Arrangement(0, 0, False) if face.mask is None else _check_mask(face, face.mask, size)


def _check_numbers(face: Face) -> None:
    for aus in (face.aus, face.target_aus):
        for unit, value in (aus or {}).items():
            if unit not in AUS or not (math.isnan(value) or 0 <= value <= MAX_INTENSITY):
                _fail(f"{unit} is {value:g}; action units are 0 to {MAX_INTENSITY:g}")
    if face.label is not None and not 0 <= face.label < len(EMOTIONS):
        _fail(f"its label is {face.label}; emotions are 0 to {len(EMOTIONS) - 1}")
    for what, affect in (("valence", face.valence), ("arousal", face.arousal)):
        if affect is not None and not -1 <= affect <= 1:
            _fail(f"{what} is {affect:g}; it may be -1 to 1")


def _check_mask(face: Face, data: bytes, size: tuple[int, int]) -> Arrangement:
    try:
        mask = decode_mask(data)
    except BROKEN as error:
        raise Rejected(Reason.MASK_BROKEN, f"its mask does not decode: {error}") from error
    if mask.shape != (size[1], size[0]):
        _fail(f"its mask has the shape {mask.shape}, its image is {size[0]} x {size[1]}")
    if mask.max() >= len(CLASSES):
        _fail(f"its mask has the class id {mask.max()}")
    found = arrangement(mask)
    if found.seen >= LIKE_SEEN and found.held < LIKE_ONE * found.seen:
        _fail(
            f"its mask's parts lie where faces have them in only {found.held} of {found.seen} cases; is it turned, or another photo's?"
        )
    if found.exchanged and looks_mirrored(Image.open(io.BytesIO(face.image)), mask):
        _fail("its mask has left and right exchanged, and would lie on its image better mirrored; is it mirrored?")
    return found


def _decoded_size(data: bytes, image_format: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=(image_format.upper(),)) as image:
            image.load()
            return image.size
    except BROKEN as error:
        raise Rejected(Reason.NOT_AN_IMAGE, f"its image does not decode as {image_format}: {error}") from error


def _fail(detail: str) -> None:
    raise Rejected(Reason.OUT_OF_RANGE, detail)
