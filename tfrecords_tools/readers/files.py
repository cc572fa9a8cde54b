"""Walking a tree of images: sorted, in bounded memory, never twice through a link."""

import os
from collections.abc import Iterator
from pathlib import Path

from tfrecords_tools.images import SUFFIXES
from tfrecords_tools.photo import Reason, Reject, readable


def image_files(root: Path) -> Iterator[str | Reject]:
    """Yield the paths below `root` (with /) of all images, folder by folder in order of their names.

    Linked folders are followed; a link back to a folder it lies in is rejected, as is a folder that cannot be read.
    Raises ValueError where `root` is no folder.
    """
    if not Path(root).is_dir():
        raise ValueError(f"`source` must be a folder. Received: {root}")
    yield from _walk(str(root), "", ())


def _walk(root: str, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[str | Reject]:
    folder = os.path.join(root, inside)
    try:
        stat = os.stat(folder)
        with os.scandir(folder) as found:
            entries = sorted((entry.name, _is_folder(entry)) for entry in found)
    except OSError as error:
        yield Reject(readable(inside), Reason.UNREADABLE, error.strerror or str(error))
        return
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        yield Reject(readable(inside), Reason.LOOP, "this link leads back to a folder it lies in")
        return
    for name, is_folder in entries:
        path = f"{inside}/{name}" if inside else name
        if is_folder:
            yield from _walk(root, path, (*above, here))
        elif name.lower().endswith(SUFFIXES):
            yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: opening it tells
        return False
