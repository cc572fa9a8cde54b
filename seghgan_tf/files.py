"""Files that are never seen half written, their digests, and their names as text."""

import hashlib
import os
from pathlib import Path


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable(name: str) -> str:
    r"""Return a file name as text that every encoding can hold; bytes that are no UTF-8 become \xNN.

    >>> readable("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write_atomically(path: Path, data: bytes | str, aside: Path | None = None) -> None:
    """Write a file in the folder `aside` (or its own), sync it to the disk and give it its name: it is never seen half written."""
    part = (aside or path.parent) / f".{path.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
