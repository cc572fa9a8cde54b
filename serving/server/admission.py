"""Who may run: bounded concurrency with a bounded, deadline-aware queue, and checks of what pictures may hold."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import grpc
import numpy as np

from serving.server.errors import ServingError, invalid
from serving.signature import LIMITS, Signature

_SLICE = 0.1
"""How often one who waits looks whether its caller is still there, in seconds; shorter costs the others their time."""


class Gate:
    """Lets at most `running` requests run and `waiting` wait, first come first served; the rest is shed at once."""

    def __init__(self, running: int, waiting: int) -> None:
        self.running = running
        self.waiting = waiting
        self._lock = threading.Lock()
        self._inside = 0
        self._queue: deque[threading.Event] = deque()
        self._seconds = 0.0

    @property
    def inside(self) -> int:
        """How many requests run now."""
        return self._inside

    @property
    def queued(self) -> int:
        """How many requests wait now."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether whoever comes now is turned away."""
        return self._inside >= self.running and len(self._queue) >= self.waiting

    def busy(self) -> ServingError:
        """Return the error of one who is turned away."""
        return ServingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"The server is busy: {self.running} requests run and {self.waiting} wait. Try again later.",
            self._expected_wait(),
        )

    def _expected_wait(self) -> float:
        return self._seconds * (len(self._queue) + 1) / self.running

    @contextlib.contextmanager
    def enter(self, deadline: float | None = None, alive: Callable[[], bool] | None = None) -> Iterator[float]:
        """Wait for a place and hold it; yield the seconds waited.

        `deadline` is on `time.monotonic`'s clock. RESOURCE_EXHAUSTED where the queue is full or would outlast the
        deadline, DEADLINE_EXCEEDED or CANCELLED where the caller is gone before its turn.
        """
        start = time.monotonic()
        self.check_caller(deadline, alive)
        turn = self._queue_up(deadline, start)
        if turn is not None:
            self._wait(turn, deadline, alive)
        began = time.monotonic()
        try:
            self.check_caller(deadline, alive)
            yield began - start
            spent = time.monotonic() - began
            self._seconds = spent if not self._seconds else 0.9 * self._seconds + 0.1 * spent
        finally:
            self._leave()

    def _queue_up(self, deadline: float | None, now: float) -> threading.Event | None:
        with self._lock:
            if self._inside < self.running and not self._queue:
                self._inside += 1
                return None
            if len(self._queue) >= self.waiting:
                raise self.busy()
            expected = self._expected_wait()
            if deadline is not None and now + expected > deadline:
                raise ServingError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"The server is busy: the wait of about {expected:.2f} s would outlast the deadline. Try again later.",
                    expected,
                )
            turn = threading.Event()
            self._queue.append(turn)
            return turn

    def _wait(self, turn: threading.Event, deadline: float | None, alive: Callable[[], bool] | None) -> None:
        while not turn.wait(_SLICE if deadline is None else max(0.0, min(_SLICE, deadline - time.monotonic()))):
            try:
                self.check_caller(deadline, alive)
            except ServingError:
                with self._lock:
                    if not turn.is_set():
                        self._queue.remove(turn)
                        raise
                self._leave()
                raise

    def _leave(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._inside -= 1

    @staticmethod
    def check_caller(deadline: float | None, alive: Callable[[], bool] | None) -> None:
        """Raise DEADLINE_EXCEEDED or CANCELLED where nobody waits for the answer any more."""
        if deadline is not None and time.monotonic() >= deadline:
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed before the request could run.")
        if alive is not None and not alive():
            raise ServingError(grpc.StatusCode.CANCELLED, "The caller is gone.")


def check_pictures(signature: Signature, inputs: dict[str, np.ndarray], model: dict) -> None:
    """Raise INVALID_ARGUMENT where an input is not finite or out of its range.

    `model` is the manifest's description, which gives the expression's range.
    """
    limits = LIMITS | {"expression": (model["expression"]["low"], model["expression"]["high"])}
    for name, spec in signature.inputs.items():
        if spec.dtype in ("bytes", "uint8"):
            continue
        smallest, largest = float(inputs[name].min()), float(inputs[name].max())
        if not (np.isfinite(smallest) and np.isfinite(largest)):
            raise invalid(f"`{name}` must be finite. Received: NaN or infinity")
        low, high = limits.get(name, (smallest, largest))
        if smallest < low - 1e-3 or largest > high + 1e-3:
            raise invalid(
                f"`{name}` must lie in [{low:g}, {high:g}]. Received: values from {smallest:g} to {largest:g}"
            )
