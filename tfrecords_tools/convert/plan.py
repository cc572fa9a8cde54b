"""The plan of a conversion: which photo goes into which shard, decided once, on disk, before any photo is opened."""

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seghgan_tf import __version__
from seghgan_tf.data.folder import SPLITS, sync
from tfrecords_tools.actions import ActionTable
from tfrecords_tools.faces import Picturing, is_further
from tfrecords_tools.photo import Photo, Reason, Reject, brief, readable

PLAN = "plan.sqlite"


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What is to be converted; equal conversions of equal files give equal bytes.

    `validation` and `test` are fractions below 1 or numbers of photos, taken by whole subjects from the photos whose split
    the data set leaves open; None is 0.05 each, or nothing where the data set has splits of its own. `options` are
    the reader's. Raises ValueError where these cannot be.
    """

    dataset: str
    source: str
    picturing: Picturing = dataclasses.field(default_factory=Picturing)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    actions: ActionTable | None = None
    validation: float | None = None
    test: float | None = None
    seed: int = 0
    shard_size: int = 1024

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            value = getattr(self, name)
            if value is not None and (value < 0 or (value > 1 and value != int(value))):
                raise ValueError(
                    f"`{name}` must be a fraction of 0 to 1 or a whole number of photos. Received: {value:g}"
                )
        if not 1 <= self.shard_size <= 1 << 20:
            raise ValueError(f"`shard_size` must be 1 to {1 << 20} records. Received: {self.shard_size}")

    def request(self) -> dict[str, Any]:
        """Return the conversion as plain values, with the version of this program."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["picturing"] = dataclasses.asdict(self.picturing)
        values["actions"] = (
            None if self.actions is None else {**self.actions._asdict(), "units": list(self.actions.units)}
        )
        return {**values, "tool_version": __version__}


def _hash(*parts: object) -> int:
    digest = hashlib.blake2b("/".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


class Plan:
    """A finished plan, open for reading; any number of processes may read one."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self.about: dict[str, Any] = json.loads(self._db.execute("SELECT value FROM about").fetchone()[0])

    def shards(self) -> list[tuple[str, int]]:
        """Return every shard as its split and number, in order."""
        return [(split, number) for split in SPLITS for number in range(self.shards_of(split))]

    def shards_of(self, split: str) -> int:
        """Return the number of shards of a split."""
        return -(-int(self.about["photos"].get(split, 0)) // int(self.about["request"]["shard_size"]))

    def photos(self, split: str, number: int) -> Iterator[Photo]:
        """Yield the photos of one shard in order."""
        size = self.about["request"]["shard_size"]
        rows = self._db.execute(
            "SELECT photo FROM planned WHERE split = ? AND place >= ? AND place < ? ORDER BY place",
            (split, number * size, (number + 1) * size),
        )
        for (text,) in rows:
            yield Photo.from_json(text)

    def rejects(self) -> Iterator[Reject]:
        """Yield what the reader could not use, in its order."""
        for file, reason, detail, excluded in self._db.execute("SELECT * FROM rejected ORDER BY rowid"):
            yield Reject(file, reason, detail, bool(excluded))

    def close(self) -> None:
        """Close the database."""
        self._db.close()


class PlanWriter:
    """Writes a plan aside and gives it its name when it is whole.

    All that grows is on disk, about 600 bytes a photo. Only the names of one folder are held in memory, by the readers that
    list it, to sort them: about 100 bytes each.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._part.unlink(missing_ok=True)
        self._db = sqlite3.connect(self._part)
        self._db.executescript("""
            PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE;
            CREATE TABLE known(id TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE people(person INTEGER PRIMARY KEY, split TEXT);
            CREATE TABLE photo(id TEXT PRIMARY KEY, person INTEGER, shuffled INTEGER, split TEXT, photo TEXT) WITHOUT ROWID;
            CREATE TABLE rejected(file TEXT, reason TEXT, detail TEXT, excluded INTEGER);
            CREATE TABLE about(value TEXT);
        """)
        self._adding = False
        self.already_there = 0

    def add_known(self, image_id: str, person: str, split: str, seed: int) -> None:
        """Note a record that the folder holds already: its id is skipped, its person's new photos go to its split."""
        self._adding = True
        self._db.execute("INSERT OR IGNORE INTO known VALUES (?)", (image_id,))
        self._db.execute("INSERT OR IGNORE INTO people VALUES (?, ?)", (_hash(seed, person), split))

    def add(self, entries: Iterable[Photo | Reject], seed: int, fail: bool, several: bool = False) -> None:
        """Take in what a reader yields; where photos may give `several` faces, the ids of these are no photo's.

        Raises ValueError at the first reject with `fail`.
        """
        for entry in entries:
            if isinstance(entry, Photo) and several and is_further(entry.image_id):
                detail = f"{entry.image_id} would be another photo's further face with --faces all; rename it"
                entry = Reject(readable(entry.name), Reason.DUPLICATE, detail)
            if isinstance(entry, Photo):
                if self._db.execute("SELECT 1 FROM known WHERE id = ?", (entry.image_id,)).fetchone():
                    self.already_there += 1
                    continue
                row = (
                    entry.image_id, _hash(seed, entry.subject_id or entry.image_id), _hash(seed, "order", entry.image_id),
                    entry.split, entry.to_json(),
                )  # fmt: skip
                if self._db.execute("INSERT OR IGNORE INTO photo VALUES (?, ?, ?, ?, ?)", row).rowcount:
                    continue
                entry = Reject(readable(entry.name), Reason.DUPLICATE, f"{entry.image_id} came before")
            if fail and not entry.excluded:
                raise_reject(entry)
            texts = (brief(readable(text)) for text in entry[:3])
            self._db.execute("INSERT INTO rejected VALUES (?, ?, ?, ?)", (*texts, entry.excluded))

    def finish(self, conversion: Conversion, about: dict[str, Any]) -> None:
        """Share the photos out over splits and shards and make the plan final. Raises ValueError where there is none."""
        if not self._db.execute("SELECT 1 FROM photo LIMIT 1").fetchone() and not self.already_there:
            count = self._db.execute("SELECT count(*) FROM rejected").fetchone()[0]
            raise ValueError(
                f"`source` must hold photos that can be used. Received: {conversion.source}, with none ({count} rejected)"
            )
        self._db.execute(
            "UPDATE photo SET split = (SELECT split FROM people WHERE people.person = photo.person) "
            "WHERE split IS NULL AND person IN (SELECT person FROM people)"
        )
        self._share_out(conversion)
        self._db.executescript("""
            CREATE TABLE planned AS SELECT split, row_number() OVER (PARTITION BY split ORDER BY shuffled, id) - 1 AS place, photo
              FROM photo;
            CREATE UNIQUE INDEX planned_place ON planned(split, place);
            DROP TABLE photo; DROP TABLE known; DROP TABLE people;
        """)
        photos = dict(self._db.execute("SELECT split, count(*) FROM planned GROUP BY split"))
        text = json.dumps(
            {**about, "request": conversion.request(), "photos": photos, "already_there": self.already_there}
        )
        self._db.execute("INSERT INTO about VALUES (?)", (text,))
        self._db.commit()
        self._db.close()
        sync(self._part)
        self._part.rename(self._path)
        sync(self._path.parent)

    def _share_out(self, conversion: Conversion) -> None:
        """Give photos without a split one: people in the order of their hash, until test and validation are full."""
        fixed = self._db.execute("SELECT 1 FROM photo WHERE split IS NOT NULL LIMIT 1").fetchone()
        default = 0.0 if fixed else 0.05
        total = self._db.execute("SELECT count(*) FROM photo WHERE split IS NULL").fetchone()[0]
        wanted = [default if share is None else share for share in (conversion.test, conversion.validation)]
        wanted = [round(share * total) if share < 1 else int(share) for share in wanted]
        if sum(wanted) > total and not self._adding:
            raise ValueError(
                f"`validation` and `test` must leave photos to train on; the data set has {total} to share out. "
                f"Received: {wanted[1]} and {wanted[0]}"
            )
        ends, taken = [0, 0], 0
        limits = (wanted[0], sum(wanted))
        people = self._db.execute(
            "SELECT person, count(*) FROM photo WHERE split IS NULL GROUP BY person ORDER BY person"
        )
        for person, count in people:
            open_split = next((i for i, limit in enumerate(limits) if taken < limit), None)
            if open_split is None:
                break
            taken += count
            ends[open_split] = person + 1
        ends[1] = max(ends)
        self._db.execute(
            "UPDATE photo SET split = CASE WHEN person < ? THEN 'test' WHEN person < ? THEN 'validation' ELSE 'train' END "
            "WHERE split IS NULL",
            ends,
        )

    def close(self) -> None:
        """Let go of an unfinished plan."""
        self._db.close()
        self._part.unlink(missing_ok=True)


def raise_reject(reject: Reject) -> None:
    """Raise ValueError for a reject where the user asked to fail at the first."""
    raise ValueError(
        f"`{reject.file}` must be mended or removed, or give --on-error report. Received: {reject.reason} ({reject.detail})"
    )
