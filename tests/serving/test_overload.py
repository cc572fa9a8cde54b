"""What is accepted under overload is answered soon, and as much is answered as without: admission on a clock of its own."""

import asyncio
import random
from collections.abc import Callable

import numpy as np
import pytest

from serving.server.admission import OVERLOAD_SECONDS, Admission, Limit
from serving.server.errors import ServingError

ALONE = 0.014
"""Seconds that a request takes by itself."""


def one_core(_: int) -> float:
    return 1.0


def two_cores(running: int) -> float:
    return min(running, 2.0)


def batches(running: int) -> float:
    return float(running**0.75)


class Server:
    """Requests that share a machine, in virtual time; `speed` is how much of them is done at once, in requests alone."""

    def __init__(self, admission: Callable[[Callable[[], float]], Admission], speed: Callable[[int], float]) -> None:
        self.now = 0.0
        self.admission = admission(lambda: self.now)
        self.speed = speed
        self.seconds: list[float] = []
        self.refused = 0
        self._waiting: dict[asyncio.Task[float], float] = {}
        self._running: dict[int, list[float]] = {}
        self._count = 0
        self._random = random.Random(0)

    def _next_end(self) -> float:
        if not self._running:
            return float("inf")
        left = min(one[0] for one in self._running.values())
        return self.now + left * len(self._running) / self.speed(len(self._running))

    def _advance(self, until: float) -> None:
        done = (until - self.now) * self.speed(len(self._running)) / max(len(self._running), 1)
        for one in self._running.values():
            one[0] -= done
        self.now = until

    async def _settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        for task in [task for task in self._waiting if task.done()]:
            came = self._waiting.pop(task)
            if task.exception() is not None:
                assert isinstance(task.exception(), ServingError)
                self.refused += 1
                continue
            self._count += 1
            work = ALONE * self._random.uniform(0.95, 1.05)
            self._running[self._count] = [work, self.now, came, len(self._running) + 1]

    async def _finish(self) -> None:
        self._advance(self._next_end())
        number = min(self._running, key=lambda one: self._running[one][0])
        _, began, came, beside = self._running.pop(number)
        self.admission.leave(self.now - began, "edit", int(beside))
        self.seconds.append(self.now - came)
        await self._settle()

    async def load(self, rate: float, count: int) -> float:
        """Send so many requests at a fixed rate, wait for the last answer, and return the answers a second."""
        begin, answered = self.now, len(self.seconds)
        for number in range(count):
            comes = begin + number / rate
            while self._next_end() <= comes:
                await self._finish()
            self._advance(comes)
            self._waiting[asyncio.ensure_future(self.admission.enter())] = self.now
            await self._settle()
        while self._running:
            await self._finish()
        return (len(self.seconds) - answered) / (self.now - begin)


def adaptive(clock: Callable[[], float]) -> Admission:
    return Admission(Limit(2, 8), 4, True, clock)


@pytest.mark.parametrize("times", [2, 5])
@pytest.mark.parametrize("speed", [one_core, two_cores, batches])
def test_accepted_answers_stay_fast_and_many(speed: Callable[[int], float], times: int) -> None:
    async def measure() -> None:
        server = Server(adaptive, speed)
        await server.load(0.2 / ALONE, 50)
        unloaded = np.percentile(server.seconds, 99)
        capacity = speed(8) / ALONE
        server.seconds.clear()
        answered = await server.load(times * capacity, int(times * capacity * 20))
        assert answered >= 0.9 * capacity
        assert np.percentile(server.seconds, 99) <= 3 * unloaded
        assert server.refused > 0

    asyncio.run(measure())


def test_without_adapting_the_accepted_wait_for_each_other() -> None:
    async def measure() -> float:
        server = Server(lambda clock: Admission(Limit(8, 8), 4, False, clock), one_core)
        await server.load(5 / ALONE, 2000)
        return float(np.percentile(server.seconds, 99))

    assert asyncio.run(measure()) > 10 * ALONE


@pytest.mark.parametrize(("sent", "refused"), [(12, 0), (20, 8)])
def test_a_burst_costs_only_what_does_not_fit(sent: int, refused: int) -> None:
    async def measure() -> Server:
        server = Server(adaptive, one_core)
        await server.load(1e6, sent)
        return server

    server = asyncio.run(measure())
    assert (server.refused, len(server.seconds), server.admission.overloaded) == (refused, 12, False)


def test_nobody_waits_for_a_while_once_not_all_could_be_answered() -> None:
    async def measure() -> None:
        server = Server(adaptive, one_core)
        await server.load(5 / ALONE, 100)
        assert (server.admission.overloaded, server.admission.room) == (True, 0)
        answered = len(server.seconds)
        await server.load(1e6, 12)
        assert len(server.seconds) - answered < 5
        server.now += OVERLOAD_SECONDS
        answered = len(server.seconds)
        await server.load(1e6, 12)
        assert len(server.seconds) - answered == 12

    asyncio.run(measure())


@pytest.mark.parametrize("times", [2, 5])
def test_nobody_waits_for_as_long_as_half_are_turned_away_and_others_wait_again_soon_after(times: int) -> None:
    async def measure() -> None:
        server = Server(adaptive, one_core)
        await server.load(times / ALONE, 200)
        server.seconds.clear()
        await server.load(times / ALONE, int(4 * OVERLOAD_SECONDS * times / ALONE))
        assert max(server.seconds) < 5 * ALONE  # those who run share the machine; one who waited took STANDING and more
        await server.load(0.7 / ALONE, int(1.2 * OVERLOAD_SECONDS * 0.7 / ALONE))
        assert (server.admission.overloaded, server.admission.room > 0) == (False, True)

    asyncio.run(measure())


def test_the_limit_grows_where_many_share_a_batch_and_stays_where_they_do_not() -> None:
    limits = {}
    for name, together in (("shared", 0.016), ("apart", 0.1)):
        limits[name] = Limit(2, 8)
        limits[name].learn("edit", ALONE, 1, True)
        for _ in range(200):
            limits[name].learn("edit", together, limits[name].now, False)
    assert (limits["shared"].now, limits["apart"].now) == (8, 2)


def test_the_limit_learns_nothing_from_an_idle_server_and_forgets_slowly() -> None:
    limit = Limit(2, 8)
    for _ in range(100):
        limit.learn("edit", ALONE, 1, True)
    assert limit.now == 2
    for _ in range(100):
        limit.learn("edit", 10 * ALONE, 1, True)  # the machine got slower
    for _ in range(100):
        limit.learn("edit", 12 * ALONE, limit.now, False)
    assert limit.now == 8


def test_time_for_a_batch_to_fill_is_no_sign_of_waiting() -> None:
    limit = Limit(2, 8, filling=0.005)
    limit.learn("edit", 0.005, 1, True)
    for _ in range(200):
        limit.learn("edit", 0.012, limit.now, False)
    assert limit.now == 8
