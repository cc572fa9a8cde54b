"""How much memory requests take: photos told by their headers, and a bound that they wait for in turn."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from seghgan_tf import photos
from serving.server.admission import cancelled, late
from serving.server.errors import invalid
from serving.signature import Signature

BYTES_A_PIXEL, BYTES_BESIDE = 12, 64 << 20
"""What the edit of a photo takes at its peak: by the photo's pixel, and beside it at most."""


class Memory:
    """Bounds the bytes that requests hold while they run; waits in threads, first come first served."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._change = threading.Condition()
        self._queue: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room now."""
        return len(self._queue)

    @contextlib.contextmanager
    def hold(
        self,
        count: int,
        deadline: float | None,
        gone: Callable[[], bool] = lambda: False,
        aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[None]:
        """Hold `count` bytes while the block runs, once there is room; whoever holds none waits for nobody.

        Whoever has to wait does so inside `aside()`.

        INVALID_ARGUMENT where there never is, DEADLINE_EXCEEDED where there is none in time, CANCELLED once `gone` holds,
        which is asked again at every `wake`.
        """
        if count > self.most:
            raise invalid(
                f"A request must fit the server's memory of {self.most} bytes: send fewer photos at once or scale them "
                f"down. Received: one that takes {count} bytes"
            )
        taken = self._take_at_once(count)
        try:
            if not taken:
                with aside():
                    self._take(count, deadline, gone)
                    taken = True
            yield
        finally:
            if taken:
                with self._change:
                    self.held -= count
                    self._change.notify_all()

    def _take_at_once(self, count: int) -> bool:
        with self._change:
            if count and (self._queue or self.held + count > self.most):
                return False
            self.held += count
            return True

    def wake(self) -> None:
        """Let whoever waits see whether its caller is gone."""
        with self._change:
            self._change.notify_all()

    def _take(self, count: int, deadline: float | None, gone: Callable[[], bool]) -> None:
        turn = object()
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._change:
            self._queue.append(turn)
            try:
                if not self._change.wait_for(
                    lambda: gone() or (self._queue[0] is turn and self.held + count <= self.most), left
                ):
                    raise late()
                if gone():
                    raise cancelled()
                self.held += count
            finally:
                self._queue.remove(turn)
                self._change.notify_all()


def edit_bytes(pixels: int) -> int:
    """Return the memory in bytes that the edit of a photo of so many pixels takes at most; small photos take little beside.

    >>> edit_bytes(1 << 26), edit_bytes(128 * 128)
    (872415232, 524288)
    """
    return BYTES_A_PIXEL * pixels + min(20 * pixels, BYTES_BESIDE)


def photo_bytes(signature: Signature, inputs: dict[str, np.ndarray]) -> int:
    """Return the memory that a request's photos take while they are edited, told by their headers alone."""
    count = 0
    for name, spec in signature.inputs.items():
        for file in inputs[name] if spec.dtype == "bytes" else ():
            with contextlib.suppress(photos.Rejected):  # the graph refuses it without decoding anything
                width, height = photos.open_header(file).size
                count += edit_bytes(width * height)
    return count
