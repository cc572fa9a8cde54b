"""One version of a served model: its state, how many calls hold it, and when a load that failed is tried again."""

import contextlib
import time
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import grpc

from serving.server.servable import Servable

_LONGEST_RETRY = 300.0
"""Longest wait before a version that failed is loaded again, in seconds."""


class State(IntEnum):
    """ModelVersionStatus.State of TensorFlow Serving."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class VersionStatus(NamedTuple):
    """What a status call tells of a version; `code` is OK unless the last load failed."""

    version: int
    state: State
    code: grpc.StatusCode
    message: str


class Version:
    """A version that was seen on disk; `servable` is there from AVAILABLE to the end of UNLOADING."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = State.START
        self.error = ""
        self.servable: Servable | None = None
        self.handles = 0
        self._fingerprint: tuple[tuple[str, int, int], ...] = ()
        self._failures = 0
        self._again = 0.0

    @property
    def loaded(self) -> bool:
        """Whether it is in memory."""
        return self.state in (State.AVAILABLE, State.UNLOADING)

    def status(self) -> VersionStatus:
        """Return what a status call tells."""
        code = grpc.StatusCode.FAILED_PRECONDITION if self.error else grpc.StatusCode.OK
        return VersionStatus(self.number, self.state, code, self.error)

    def due(self, folder: Path) -> bool:
        """Return whether to load it now: not where it is loaded, nor where it failed a while ago and its folder is the same."""
        if self.loaded:
            return False
        before, self._fingerprint = self._fingerprint, _fingerprint(folder)
        return not self.error or self._fingerprint != before or time.monotonic() >= self._again

    def failed(self, retry_seconds: float) -> None:
        """Wait before the next load, twice as long after each failure in a row."""
        self._again = time.monotonic() + min(retry_seconds * 2**self._failures, _LONGEST_RETRY)
        self._failures = min(self._failures + 1, 20)

    def forgive(self) -> None:
        """Forget the failures, so that it is loaded at once where it is wanted again."""
        self.error, self._failures = "", 0


def _fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    entries = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):
            facts = path.lstat()
            entries.append((str(path.relative_to(folder)), facts.st_size, facts.st_mtime_ns))
    return tuple(entries)
