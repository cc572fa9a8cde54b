"""Every file of a data set's folder, accounted for: an entry's, a mask, or ignored by a rule that is named."""

import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tfrecords_tools.photo import Photo, Reject, readable
from tfrecords_tools.readers.files import is_picture, walk


class Accounts:
    """The files that a reader's entries are of, in the table `file` of a database."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.execute("CREATE TABLE file(path TEXT PRIMARY KEY, kind TEXT) WITHOUT ROWID")
        self._entries = 0

    def add(self, entry: Photo | Reject) -> None:
        """Note which files an entry is of."""
        self._entries += 1
        masks = [(entry.mask, "mask")] if isinstance(entry, Photo) and entry.mask else []
        for path, kind in ((entry.path, "entry"), *masks):
            self._db.execute("INSERT OR IGNORE INTO file VALUES (?, ?)", (readable(path), kind))

    def count(self, source: Path) -> dict[str, Any]:
        """Look at each file below the data set's folder: it is an entry's, or ignored by a rule that is named and counted.

        Returns the number of `files`, that of `rows` more than files (of tables that name no file, or one twice), and the
        `ignored` by rule: files = entries - rows + ignored.
        """
        ignored: Counter[str] = Counter()
        files = entries = 0
        for path in walk(source):
            if isinstance(path, Reject):
                continue
            files += 1
            place = os.path.join(source, path)
            known = self._db.execute("SELECT kind FROM file WHERE path = ?", (readable(place),)).fetchone()
            if known == ("entry",):
                entries += 1
            else:
                ignored["masks" if known or self._is_part(place) else _rule(path, place)] += 1
        return {"files": files, "rows": self._entries - entries, "ignored": dict(sorted(ignored.items()))}

    def _is_part(self, place: str) -> bool:
        """Tell whether a file is one part of a mask, BEGINNING_l_eye.png."""
        folder, name = os.path.split(place)
        beginnings = [os.path.join(folder, name[:i]) for i, letter in enumerate(name) if letter == "_"]
        return any(
            self._db.execute("SELECT 1 FROM file WHERE path = ? AND kind = 'mask'", (readable(each),)).fetchone()
            for each in beginnings
        )


def _rule(path: str, place: str) -> str:
    """Return why a file that no entry is of was ignored."""
    folder, name = os.path.split(path)
    if is_picture(place):
        return f"pictures in {readable(folder) or '.'} that the data set's layout or table does not name"
    return f"no picture: {readable(os.path.splitext(name)[1]) or 'without an ending'}"
