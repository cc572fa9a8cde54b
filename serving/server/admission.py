"""Who is read and who may run: bounds with queues that know their callers' deadlines."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import grpc
import numpy as np

from serving.server.errors import ServingError, invalid
from serving.signature import LIMITS, Signature

T = TypeVar("T")

OVERLOAD_SECONDS = 30.0
"""How long nobody waits once not all could be answered, from when half of the last `FATES` requests got in again."""
FATES = 100
STANDING = 0.1
"""Seconds that somebody has to wait at any moment before a refusal tells of more than a burst."""
KINDS = 64
"""Kinds of request whose time alone is remembered."""


class Limit:
    """How many may run at once: as many as take twice the time of one alone, from `least` to `most`.

    What runs longer waits for the others: more at once would answer no more in a second. What runs shorter shares a batch
    or other cores; `filling` is the time that batches may take to fill. Only requests that began and ended beside as many as
    may are learned from. Times are kept by kind, as a model's version and signature: the least one, which only a request that ran
    alone can raise again.
    """

    def __init__(self, least: int, most: int, filling: float = 0.0) -> None:
        self.least = min(least, most)
        self.most = most
        self.filling = filling
        self._now = float(self.least)
        self._alone: OrderedDict[Hashable, float] = OrderedDict()

    @property
    def now(self) -> int:
        """How many may run at once now: one more where two fifths of its place are found."""
        return int(self._now + 0.6)

    def learn(self, kind: Hashable, seconds: float, beside: int, alone: bool) -> None:
        """Take in that a request ran for so many seconds: alone, or among `beside`, itself counted."""
        best = self._alone.pop(kind, seconds)
        best = best + 0.05 * (seconds - best) if alone and seconds > best else min(best, seconds)
        self._alone[kind] = best
        if len(self._alone) > KINDS:
            self._alone.popitem(last=False)
        if beside >= self.now:
            wanted = beside * min((2 * best + self.filling) / max(seconds, 1e-9), 2.0)
            self._now = min(max(self._now + 0.1 * (wanted - self._now), self.least), self.most)


class Admission:
    """Lets some requests run and some wait, first come first served; the rest is turned away at once.

    At most as many run as `limit` finds, and `waiting` wait besides those that it keeps from running. With `sheds`, one
    turned away where others have waited for `STANDING`, or as long as a request runs, is a sign that not all
    can be answered: then those that wait are turned away with it, and until `OVERLOAD_SECONDS` after fewer than half are
    turned away nobody waits, so that what is accepted is answered soon. Of those let in, `aside` have given their place back
    to wait for something else. `clock` is `time.monotonic` or what a test has in its place. Everything is called in one
    event loop.
    """

    def __init__(
        self,
        limit: Limit,
        waiting: int,
        sheds: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.waiting = waiting
        self.inside = 0
        self.aside = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._seconds = 0.0
        self._sheds = sheds
        self._clock = clock
        self._overload_ends = -math.inf
        self._refused: deque[bool] = deque(maxlen=FATES)
        self._stands_since = 0.0

    @property
    def queued(self) -> int:
        """How many requests wait now."""
        return len(self._queue)

    @property
    def overloaded(self) -> bool:
        """Whether nobody may wait, because not all could be answered a short time ago."""
        return self._clock() < self._overload_ends

    @property
    def room(self) -> int:
        """How many may wait now."""
        return 0 if self.overloaded else self.waiting + self.limit.most - self.limit.now

    @property
    def full(self) -> bool:
        """Whether whoever comes now is turned away."""
        if self.inside + self.aside + len(self._queue) >= self.limit.most + self.waiting:
            return True
        return self.inside >= self.limit.now and len(self._queue) >= self.room

    def busy(self) -> ServingError:
        """Return the error of one who is turned away; a queue that stood long begins the time in which nobody waits."""
        now = self._clock()
        stood = now - self._stands_since if self._queue else 0.0
        self._refused.append(True)
        if self.overloaded and 2 * sum(self._refused) > FATES:
            self._overload_ends = now + OVERLOAD_SECONDS
        if self._sheds and stood >= max(STANDING, self._seconds):
            self._overload_ends = now + OVERLOAD_SECONDS
            waiting, self._queue = self._queue, deque()
            for turn in waiting:
                if not turn.done():
                    turn.set_exception(self._refusal())
        return self._refusal()

    def _refusal(self) -> ServingError:
        text = f"The server is busy: {self.inside} requests run and {len(self._queue)} wait. Try again later."
        return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, self._expected_wait())

    def _expected_wait(self) -> float:
        return self._seconds * (len(self._queue) + 1) / self.limit.now

    async def enter(self, deadline: float | None = None) -> float:
        """Wait for a place, to be given back with `leave`, and return the seconds waited.

        `deadline` is on the clock. RESOURCE_EXHAUSTED where nobody more may wait or the queue would outlast the
        deadline, DEADLINE_EXCEEDED where it passes first. One who is cancelled leaves the queue.
        """
        start = self._clock()
        if deadline is not None and start >= deadline:
            raise late()
        if self.full:
            raise self.busy()
        if self.inside < self.limit.now and not self._queue:
            self._refused.append(False)
            self.inside += 1
            return 0.0
        expected = self._expected_wait()
        if deadline is not None and start + expected > deadline:
            text = (
                f"The server is busy: the wait of about {expected:.2f} s would outlast the deadline. Try again later."
            )
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, expected)
        self._refused.append(False)
        await self._turn(deadline, self._queue.append)
        return self._clock() - start

    def step_aside(self) -> None:
        """Give a place back to wait for something else; `back` asks for one again, and whoever ends without it lowers `aside`."""
        self.aside += 1
        self.leave()

    async def back(self, deadline: float | None = None) -> None:
        """Wait for a place before all others, after `step_aside`; ServingError as of `enter`."""
        self.aside -= 1
        try:
            if self.inside < self.limit.now:
                self.inside += 1
            else:
                await self._turn(deadline, self._queue.appendleft)
        except BaseException:
            self.aside += 1
            raise

    async def _turn(self, deadline: float | None, queue: Callable[[asyncio.Future[None]], None]) -> None:
        start = self._clock()
        if not self._queue:
            self._stands_since = start
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue(turn)
        try:
            async with asyncio.timeout(None if deadline is None else deadline - start):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise late() from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn in self._queue:
            self._queue.remove(turn)
        elif not turn.cancelled() and turn.exception() is None:  # its turn came as it gave up
            self.leave()

    def leave(self, seconds: float | None = None, kind: Hashable = None, beside: int = 1) -> None:
        """Give a place back, to the next who waits.

        `seconds` is how long an answered request of this kind ran, `beside` how many ran when it began, itself counted.
        """
        if seconds is not None:
            self._seconds = 0.9 * self._seconds + 0.1 * seconds if self._seconds else seconds
            self.limit.learn(kind, seconds, min(beside, self.inside), beside == self.inside == 1)
        self.inside -= 1
        while self._queue and self.inside < self.limit.now:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self.inside += 1


def late() -> ServingError:
    """Return the error of a request whose deadline passed."""
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed before the request could run.")


def cancelled() -> ServingError:
    """Return the error of a request for which nobody waits any more."""
    return ServingError(grpc.StatusCode.CANCELLED, "The caller is gone.")


class Reading:
    """Lets `most` requests send their messages at once, each for at most `seconds`.

    A message takes no place of those that run. Where one more comes, whoever has been sending longest is turned away:
    honest messages take milliseconds, so that slow senders can only push out one another.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self._seconds = seconds
        self._tasks: dict[asyncio.Task[Any], None] = {}

    async def read(self, message: Awaitable[T]) -> T:
        """Return the message; DEADLINE_EXCEEDED where it does not arrive in time, RESOURCE_EXHAUSTED for one turned away."""
        task = asyncio.ensure_future(message)
        self._tasks[task] = None
        if len(self._tasks) > self.most:
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
