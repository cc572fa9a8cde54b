"""Walking a tree of files: sorted, in bounded memory, never twice through a link; which are pictures; names that differ in form."""

import functools
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seghgan_tf.photos import SUFFIXES
from tfrecords_tools.images import RAW
from tfrecords_tools.photo import Reason, Reject, readable

STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
"""How files of pictures begin: JPEG, PNG, GIF, BMP, TIFF and JPEG 2000; the others say it from their fourth or eighth byte on."""


def walk(root: Path) -> Iterator[str | Reject]:
    """Yield the paths below `root` (with /) of all files, folder by folder in order of their names.

    Linked folders are followed; a link back to a folder it lies in is rejected, as is a folder that cannot be read.
    Raises ValueError where `root` is no folder.
    """
    if not Path(root).is_dir():
        raise ValueError(f"`source` must be a folder. Received: {root}")
    levels = [_Level("", (-1, -1), [("", True)])]
    while levels:
        inside, _, entries = levels[-1]
        if not entries:
            levels.pop()
            continue
        name, is_folder = entries.pop()
        path = f"{inside}/{name}" if inside else name
        if not is_folder:
            yield path
            continue
        try:
            level = _listed(os.fspath(root), path)
        except OSError as error:
            yield Reject(readable(path), Reason.UNREADABLE, error.strerror or str(error))
            continue
        if any(level.place == each.place for each in levels):
            yield Reject(readable(path), Reason.LOOP, "this link leads back to a folder it lies in")
        else:
            levels.append(level)


def image_files(root: Path) -> Iterator[str | Reject]:
    """Yield what `walk` yields, of files only the pictures."""
    return (entry for entry in walk(root) if isinstance(entry, Reject) or is_picture(os.path.join(root, entry)))


def is_picture(path: str) -> bool:
    """Tell whether a file is a picture: by its ending, or else by how it begins. A raw file is one, so that opening it tells that it cannot be used."""
    if path.lower().endswith((*SUFFIXES, *RAW)):
        return True
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            start = file.read(16)
    except OSError:
        return False
    box = start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
    return start.startswith(STARTS) or box or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def same(name: str) -> str:
    r"""Return a path in the form in which those of one file are equal: Unicode composed, / between folders, small letters.

    >>> same("./A\\Cafe\u0301.JPG") == same("a/caf\xe9.jpg")
    True
    """
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").casefold().split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def find(root: Path, name: str) -> str:
    """Return a file's path below `root` as it is on disk, for a name that may differ from it by what `same` evens out.

    Returns `name` itself where there is none, or where several fit and none of them exactly.
    """
    if os.path.exists(root / name):
        return os.path.normpath(name)
    found = ""
    for part in same(name).split("/"):
        folder = os.path.join(root, found)
        fits = _names(folder, os.stat(folder).st_mtime_ns).get(part, ()) if os.path.isdir(folder) else ()
        if len(fits) != 1:
            return name
        found = os.path.join(found, fits[0])
    return found


@functools.lru_cache(64)
def _names(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    """Return the names in a folder by their `same` form, as they were when the folder `changed`."""
    names: dict[str, tuple[str, ...]] = {}
    for name in os.listdir(folder):
        names[same(name)] = (*names.get(same(name), ()), name)
    return names


class _Level(NamedTuple):
    """A folder on the way: its path below the root, device and inode, and what is left of its names, the first one last."""

    inside: str
    place: tuple[int, int]
    entries: list[tuple[str, bool]]


def _listed(root: str, inside: str) -> _Level:
    folder = os.path.join(root, inside)
    stat = os.stat(folder)
    with os.scandir(folder) as found:
        entries = sorted(((entry.name, _is_folder(entry)) for entry in found), reverse=True)
    return _Level(inside, (stat.st_dev, stat.st_ino), entries)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: opening it tells
        return False
