"""Who is read, who may run, and how much memory they take: bounds with queues that know their callers' deadlines."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import grpc
import numpy as np

from seghgan_tf import photos
from serving.server.errors import ServingError, invalid
from serving.signature import LIMITS, Signature

T = TypeVar("T")

BYTES_A_PIXEL = 32
"""What the edit of a photo takes at its peak, by the photo's pixel."""


class Admission:
    """Lets at most `running` requests run and `waiting` wait, first come first served; the rest is turned away at once.

    Everything is called in one event loop.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self.running = running
        self.waiting = waiting
        self.inside = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._seconds = 0.0

    @property
    def queued(self) -> int:
        """How many requests wait now."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether whoever comes now is turned away."""
        return self.inside >= self.running and len(self._queue) >= self.waiting

    def busy(self) -> ServingError:
        """Return the error of one who is turned away."""
        text = f"The server is busy: {self.running} requests run and {self.waiting} wait. Try again later."
        return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, self._expected_wait())

    def _expected_wait(self) -> float:
        return self._seconds * (len(self._queue) + 1) / self.running

    async def enter(self, deadline: float | None = None) -> float:
        """Wait for a place, to be given back with `leave`, and return the seconds waited.

        `deadline` is on `time.monotonic`'s clock. RESOURCE_EXHAUSTED where the queue is full or would outlast the
        deadline, DEADLINE_EXCEEDED where it passes first. One who is cancelled leaves the queue.
        """
        start = time.monotonic()
        if deadline is not None and start >= deadline:
            raise late()
        if self.inside < self.running and not self._queue:
            self.inside += 1
            return 0.0
        if len(self._queue) >= self.waiting:
            raise self.busy()
        expected = self._expected_wait()
        if deadline is not None and start + expected > deadline:
            text = (
                f"The server is busy: the wait of about {expected:.2f} s would outlast the deadline. Try again later."
            )
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, expected)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(None if deadline is None else deadline - start):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise late() from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        return time.monotonic() - start

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn in self._queue:
            self._queue.remove(turn)
        else:
            self.leave()

    def leave(self, seconds: float | None = None) -> None:
        """Give a place back, to the next who waits; `seconds` is how long an answered request ran."""
        if seconds is not None:
            self._seconds = 0.9 * self._seconds + 0.1 * seconds if self._seconds else seconds
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.inside -= 1


def late() -> ServingError:
    """Return the error of a request whose deadline passed."""
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed before the request could run.")


class Reading:
    """Lets `most` requests send their messages at once, each for at most `seconds`.

    A message takes no place of those that run. Where one more comes, whoever has been sending longest is turned away:
    honest messages take milliseconds, so that slow senders can only push out one another.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._tasks: dict[asyncio.Task[Any], None] = {}

    async def read(self, message: Awaitable[T]) -> T:
        """Return the message; DEADLINE_EXCEEDED where it does not arrive in time, RESOURCE_EXHAUSTED for one turned away."""
        task = asyncio.ensure_future(message)
        self._tasks[task] = None
        if len(self._tasks) > self._most:
            next(iter(self._tasks)).cancel("turned away")
        try:
            done, _ = await asyncio.wait([task], timeout=self._seconds)
        finally:
            self._tasks.pop(task, None)
            task.cancel()
        if not done:
            text = f"The request's message did not arrive within {self._seconds:g} s."
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, text)
        if task.cancelled():
            text = "The server is busy: too many requests send their messages slowly. Try again later."
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        return task.result()


class Memory:
    """Bounds the bytes that requests hold while they run; waits in threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._change = threading.Condition()

    @contextlib.contextmanager
    def hold(self, count: int, deadline: float | None) -> Iterator[None]:
        """Hold `count` bytes while the block runs, once there is room.

        INVALID_ARGUMENT where there never is, DEADLINE_EXCEEDED where there is none in time.
        """
        if count > self.most:
            raise invalid(
                f"`image_bytes` must be photos that fit the server's memory of {self.most} bytes; scale them down or send "
                f"fewer at once. Received: photos that take {count} bytes"
            )
        with self._change:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._change.wait_for(lambda: self.held + count <= self.most, left):
                raise late()
            self.held += count
        try:
            yield
        finally:
            with self._change:
                self.held -= count
                self._change.notify_all()


def photo_bytes(signature: Signature, inputs: dict[str, np.ndarray]) -> int:
    """Return the memory that a request's photos take while they are edited, told by their headers alone."""
    count = 0
    for name, spec in signature.inputs.items():
        for file in inputs[name] if spec.dtype == "bytes" else ():
            with contextlib.suppress(photos.Refused):  # the graph refuses it without decoding anything
                width, height = photos.open_header(file).size
                count += width * height * BYTES_A_PIXEL
    return count


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
