"""Walking a tree of images: sorted, in bounded memory, never twice through a link."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seghgan_tf.photos import SUFFIXES
from tfrecords_tools.photo import Reason, Reject, readable


def image_files(root: Path) -> Iterator[str | Reject]:
    """Yield the paths below `root` (with /) of all images, folder by folder in order of their names.

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
            if name.lower().endswith(SUFFIXES):
                yield path
            continue
        try:
            level = _listed(str(root), path)
        except OSError as error:
            yield Reject(readable(path), Reason.UNREADABLE, error.strerror or str(error))
            continue
        if any(level.place == each.place for each in levels):
            yield Reject(readable(path), Reason.LOOP, "this link leads back to a folder it lies in")
        else:
            levels.append(level)


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
