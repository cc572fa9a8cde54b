"""Who and what is in which split: ids, subjects and pictures of records, kept on disk while folders are compared."""

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager


class Census:
    """Ids, subjects and pictures seen so far; about 200 bytes a record in a temporary file, none in memory (a 64 MB cache at most)."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.executescript("""
            PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;
            CREATE TABLE record(id TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE picture(digest BLOB, split TEXT, id TEXT, PRIMARY KEY (digest, split)) WITHOUT ROWID;
            CREATE TABLE person(subject TEXT, split TEXT, PRIMARY KEY (subject, split)) WITHOUT ROWID;
        """)

    def add_id(self, image_id: str) -> bool:
        """Note a record's id and tell whether it is new."""
        return bool(self._db.execute("INSERT OR IGNORE INTO record VALUES (?)", (image_id,)).rowcount)

    def add_subject(self, subject: str, split: str) -> None:
        """Note that a subject is in a split."""
        self._db.execute("INSERT OR IGNORE INTO person VALUES (?, ?)", (subject, split))

    def add_picture(self, digest: bytes, image_id: str, split: str) -> None:
        """Note that a picture of this digest (see `digest_of`) is in a split."""
        self._db.execute("INSERT OR IGNORE INTO picture VALUES (?, ?, ?)", (digest, split, image_id))

    def twins(self) -> Iterator[str]:
        """Yield, for each picture that is in several splits, "ID in SPLIT and ID in SPLIT"."""
        for (text,) in self._db.execute(
            "SELECT group_concat(id || ' in ' || split, ' and ') FROM picture GROUP BY digest HAVING count(*) > 1 ORDER BY min(id)"
        ):
            yield text

    def people_in(self, split: str) -> int:
        """Return the number of subjects in a split."""
        return int(self._db.execute("SELECT count(*) FROM person WHERE split = ?", (split,)).fetchone()[0])

    def torn(self) -> Iterator[tuple[str, str]]:
        """Yield the subjects of several splits, in order, each with the names of its splits."""
        yield from self._db.execute(
            "SELECT subject, group_concat(split, ' and ') FROM person GROUP BY subject HAVING count(*) > 1 ORDER BY subject"
        )


def digest_of(picture: bytes) -> bytes:
    """Return what pictures of equal bytes have in common."""
    return hashlib.blake2b(picture, digest_size=16).digest()


@contextmanager
def open_census() -> Iterator[Census]:
    """Open an empty census that is gone afterwards. Raises OSError where the folder for temporary files does not take it."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        closing(sqlite3.connect(os.path.join(scratch, "census.sqlite"))) as db,
    ):
        try:
            yield Census(db)
        except sqlite3.OperationalError as error:
            raise OSError(f"`TMPDIR` must have room for a list of all ids. Received: {scratch}, {error}") from error
