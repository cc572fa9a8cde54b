"""The local runner: shards shared out over processes that stop with their parent."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from tfrecords_tools.convert.plan import Plan
from tfrecords_tools.convert.shard import Stopped, convert_shard

AHEAD = 4
"""Tasks a worker that are handed out before others are done, so that memory does not grow with their number."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class _Shared:
    """What a worker shares with its parent: the count of photos done, and the wish to stop."""

    count: Any = None
    stop: Any = None


def run_in_processes(
    output: Path, plan: Plan, shards: list[tuple[str, int]], on_error: str, workers: int, progress: Any
) -> None:
    """Convert all shards that are not done. `progress` (or None) is called with photos done and photos of all."""
    total = plan.total()
    if workers == 1 and plan.about["request"]["picturing"]["align"] == "none":
        _run_here(output, shards, on_error, total, progress)
        return
    context = _context()
    count, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(min(workers, max(1, len(shards))), context, _start_worker, (count, stop))
    try:
        more, waiting = iter(shards), set[Future[None]]()
        while True:
            room = itertools.islice(more, AHEAD * workers - len(waiting))
            waiting |= {_submit(pool, _work, output, shard, on_error) for shard in room}
            if not waiting:
                break
            finished, waiting = wait(waiting, timeout=0.25, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            if progress is not None:
                progress(count.value, total)
    except BrokenProcessPool as error:
        raise OSError(
            "a worker process was ended from outside, perhaps for want of memory; the same command goes on, fewer `workers` need less"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _context() -> Any:
    """Return how workers start: forked from a clean server that has imported TensorFlow, once, and started nothing of it."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["tfrecords_tools.convert.preload"])
        resource_tracker.ensure_running()  # which would take the mask away
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()  # and inherits the mask: a terminal's Ctrl-C reaches it too
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _submit(pool: ProcessPoolExecutor, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Submit a task, and put an interrupt off until it is: a worker cut in its start would outlive its pool and complain."""
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        return pool.submit(function, *arguments)
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    try:
        future = pool.submit(function, *arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt
    return future


def map_in_processes(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], workers: int
) -> Iterator[Result]:
    """Yield `function` of each argument in order, worked out by so many processes (1: by this one)."""
    if workers == 1 or len(arguments) < 2:
        yield from map(function, arguments)
        return
    context = _context()
    with ProcessPoolExecutor(
        min(workers, len(arguments)), context, _start_worker, (context.Value("q", 0), context.Event())
    ) as pool:
        running: deque[Future[Result]] = deque()
        for argument in arguments:
            running.append(_submit(pool, function, argument))
            if len(running) == AHEAD * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _run_here(output: Path, shards: list[tuple[str, int]], on_error: str, total: int, progress: Any) -> None:
    done = 0

    def tick(photos: int) -> None:
        nonlocal done
        done += photos
        if progress is not None:
            progress(done, total)

    for shard in shards:
        _convert(output, shard, on_error, tick)


def _convert(
    output: Path, shard: tuple[str, int], on_error: str, tick: Callable[[int], None], stopped: Callable[[], bool] = lambda: False
) -> None:  # fmt: skip
    """Convert a shard; `tick` gets 1 after each photo, or all at once of a shard that was done before."""
    ticked = False

    def tick_one() -> None:
        nonlocal ticked
        ticked = True
        tick(1)

    result = convert_shard(output, *shard, on_error, tick_one, stopped)
    if not ticked:
        tick(result["photos"] + len(result["rejected"]))


def _start_worker(count: Any, stop: Any) -> None:
    _Shared.count, _Shared.stop = count, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _tick(photos: int) -> None:
    with _Shared.count.get_lock():
        _Shared.count.value += photos


def _work(output: Path, shard: tuple[str, int], on_error: str) -> None:
    with contextlib.suppress(Stopped):
        _convert(output, shard, on_error, _tick, _Shared.stop.is_set)
