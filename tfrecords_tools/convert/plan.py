"""The plan of a conversion: which photo goes into which shard, decided once, on disk, before any photo is opened."""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seghgan_tf.data.folder import SPLITS
from seghgan_tf.files import sync
from tfrecords_tools.accounts import Accounts
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.faces import is_further
from tfrecords_tools.photo import Note, Photo, Reason, Reject, brief, readable

PLAN = "plan.sqlite"


def _hash(*parts: object) -> int:
    digest = hashlib.blake2b("/".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


class Plan:
    """A finished plan, open for reading; any number of processes may read one."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self.about: dict[str, Any] = json.loads(self._db.execute("SELECT value FROM about").fetchone()[0])

    def shards(self) -> list[tuple[str, int]]:
        """Return every shard that is this machine's as its split and number, in order."""
        index, machines = self.about["request"]["share"]
        return [(split, number) for split in SPLITS for number in range(self.shards_of(split))][index::machines]

    def total(self) -> int:
        """Return the number of photos in the shards that are this machine's."""
        size = int(self.about["request"]["shard_size"])
        return sum(min(size, self.about["photos"][split] - number * size) for split, number in self.shards())

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
        """Yield what the reader rejected, in its order."""
        for file, reason, detail, excluded in self._db.execute("SELECT * FROM rejected ORDER BY rowid"):
            yield Reject(file, reason, detail, bool(excluded))

    def judges(self, file: str) -> bool:
        """Tell whether a file, as `rejected.csv` names it, is of an entry that is added to a finished folder, or there already."""
        return self._db.execute("SELECT 1 FROM judged WHERE file = ?", (file,)).fetchone() is not None

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
            CREATE TABLE judged(file TEXT PRIMARY KEY) WITHOUT ROWID;
        """)
        self._adding = False
        self._digest = hashlib.blake2b(digest_size=16)
        self.accounts = Accounts(self._db)
        self.already_there = 0
        self.joins: Counter[str] = Counter()

    def add_known(self, image_id: str, person: str, split: str, seed: int) -> None:
        """Note a record that the folder holds already: its id is skipped, its person's new photos go to its split."""
        self._adding = True
        self._db.execute("INSERT OR IGNORE INTO known VALUES (?)", (image_id,))
        self._db.execute("INSERT OR IGNORE INTO people VALUES (?, ?)", (_hash(seed, person), split))

    def add(self, entries: Iterable[Photo | Reject | Note], seed: int, fail: bool, several: bool = False) -> None:
        """Take in what a reader yields; where photos may give `several` faces, the ids of these are no photo's.

        Raises ValueError at the first reject with `fail`.
        """
        for entry in entries:
            if isinstance(entry, Note):
                self.joins[entry.text] += entry.number
                continue
            self.accounts.add(entry)
            self._digest_entry(entry)
            if self._adding:
                name = entry.name if isinstance(entry, Photo) else entry.file
                self._db.execute("INSERT OR IGNORE INTO judged VALUES (?)", (brief(readable(name)),))
            if isinstance(entry, Photo):
                rejected = self._add_photo(entry, seed, several)
                if rejected is None:
                    continue
                entry = rejected
            if fail and not entry.excluded:
                raise_reject(entry)
            texts = (brief(readable(text)) for text in entry[:3])
            self._db.execute("INSERT INTO rejected VALUES (?, ?, ?, ?)", (*texts, entry.excluded))

    def _digest_entry(self, entry: Photo | Reject) -> None:
        """Take what an entry says, but for where its files lie, into the digest of all entries."""
        said = {**vars(entry), "path": "", "mask": bool(entry.mask)} if isinstance(entry, Photo) else entry[:4]
        self._digest.update(json.dumps(said).encode())

    def _add_photo(self, photo: Photo, seed: int, several: bool) -> Reject | None:
        """Take in a photo; returns why not where it cannot be."""
        if several and is_further(photo.image_id):
            detail = f"{photo.image_id} would be another photo's further face with --faces all; rename it"
            return photo.reject(Reason.DUPLICATE, detail)
        if self._db.execute("SELECT 1 FROM known WHERE id = ?", (photo.image_id,)).fetchone():
            self.already_there += 1
            return None
        row = (
            photo.image_id, _hash(seed, photo.subject_id or photo.image_id), _hash(seed, "order", photo.image_id),
            photo.split, photo.to_json(),
        )  # fmt: skip
        if self._db.execute("INSERT OR IGNORE INTO photo VALUES (?, ?, ?, ?, ?)", row).rowcount:
            return None
        return photo.reject(Reason.DUPLICATE, f"{photo.image_id} came before")

    def finish(self, conversion: Conversion, about: dict[str, Any]) -> None:
        """Share the photos out over splits and shards and make the plan final. Raises ValueError where there is none."""
        if not self._db.execute("SELECT 1 FROM photo LIMIT 1").fetchone() and not self.already_there:
            reasons = "SELECT reason, count(*), min(file), min(detail) FROM rejected WHERE NOT excluded GROUP BY reason ORDER BY -count(*)"
            raise too_few(
                0, [f"{count} {reason} ({file}: {detail})" for reason, count, file, detail in self._db.execute(reasons)]
            )
        self._keep_people_together()
        self._share_out(conversion)
        self._db.executescript("""
            CREATE TABLE planned AS SELECT split, row_number() OVER (PARTITION BY split ORDER BY shuffled, id) - 1 AS place, photo
              FROM photo;
            CREATE UNIQUE INDEX planned_place ON planned(split, place);
            DROP TABLE photo; DROP TABLE known; DROP TABLE people; DROP TABLE file;
        """)
        photos = dict(self._db.execute("SELECT split, count(*) FROM planned GROUP BY split"))
        text = json.dumps({
            **about, "request": conversion.request(), "told": conversion.told(), "photos": photos, "joins": dict(self.joins),
            "already_there": self.already_there, "inputs": self.inputs(),
        })  # fmt: skip
        self._db.execute("INSERT INTO about VALUES (?)", (text,))
        self._db.commit()
        self._db.close()
        sync(self._part)
        self._part.rename(self._path)
        sync(self._path.parent)

    def inputs(self) -> str:
        """Return a digest of all that the reader has yielded."""
        return self._digest.hexdigest()

    def _keep_people_together(self) -> None:
        """Let a person's photos follow those whose split is given. Raises ValueError where two are given for one person."""
        self._db.execute(
            "INSERT OR IGNORE INTO people SELECT DISTINCT person, split FROM photo WHERE split IS NOT NULL ORDER BY person, split"
        )
        torn = self._db.execute(
            "SELECT photo, people.split FROM photo JOIN people USING (person) WHERE photo.split != people.split LIMIT 1"
        ).fetchone()
        if torn:
            raise two_splits(Photo.from_json(torn[0]), torn[1])
        self._db.execute(
            "UPDATE photo SET split = (SELECT split FROM people WHERE people.person = photo.person) "
            "WHERE split IS NULL AND person IN (SELECT person FROM people)"
        )

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


def too_few(kept: int, reasons: Sequence[str]) -> ValueError:
    """Return the error for a conversion that keeps nothing, or next to nothing; `reasons` are the commonest first."""
    why = "; ".join(reason[:200] for reason in reasons[:3]) or "no picture in it"
    return ValueError(
        f"`source` must hold photos that can be used; --min-kept says which share of them at least. Received: {kept} kept, {why}"
    )


def two_splits(photo: Photo, other: str) -> ValueError:
    """Return the error for a photo whose split is not the `other` one of the same person."""
    return ValueError(
        f"`split` must be one for all photos of a person. Received: {photo.subject_id or photo.image_id} in {other} and, "
        f"with {readable(photo.name)}, in {photo.split}"
    )


def raise_reject(reject: Reject) -> None:
    """Raise ValueError for a reject where the user asked to fail at the first."""
    raise ValueError(
        f"`{reject.file}` must be mended or removed, or give --on-error report. Received: {reject.reason} ({reject.detail})"
    )
