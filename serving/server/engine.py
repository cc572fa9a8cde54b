"""The engine behind both protocols: admission, versions, batching and metrics. gRPC and REST are thin skins over it.

    engine = Engine(settings)            # reads configuration; nothing is loaded yet
    engine.start()                       # loads the models; ValueError where none can be served
    answer = await engine.predict(question, pack, deadline=time.monotonic() + 5, protocol="rest")
    engine.models.status("seghgan")      # -> [VersionStatus(version, state, code, message)], newest first
    engine.ready()                       # every model and label answers, and the server is not draining
    engine.metrics.render()              # -> bytes for Prometheus; engine.metrics_path is their path or None

Everything raises `ServingError(code, message)` with a grpc.StatusCode. `predict` is called in one event loop; the rest
from any thread. A version resolved by `engine.models.use(model, version, label)` stays loaded while the block runs.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import grpc
import numpy as np

from seghgan_tf import __version__, machine
from serving.server.admission import Admission, Limit, Reading, cancelled, check_pictures, late
from serving.server.batching import Batching, read_batching
from serving.server.errors import ServingError
from serving.server.gauges import gauges
from serving.server.memory import Memory, photo_bytes
from serving.server.metrics import Metrics, Outcome, metrics_path
from serving.server.models_config import ServedModel, read_models
from serving.server.progress import Progress
from serving.server.servable import Servable
from serving.server.settings import Settings
from serving.server.versions import Models
from serving.server.watch import Watcher
from serving.signature import Signature, message_bytes

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

READING = 128
"""Requests that may be sending their messages at once where memory has room for as many of the largest."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a model; an empty `signature` is `serving_default`.

    `inputs` makes the arrays once the signature is known; what it raises (ServingError for bad input) reaches the caller.
    """

    model: str
    inputs: Callable[[Signature], dict[str, np.ndarray]]
    signature: str = ""
    version: int | None = None
    label: str | None = None
    output_filter: tuple[str, ...] = ()


class Prediction(NamedTuple):
    """An answer and who gave it."""

    model: str
    version: int
    signature: str
    outputs: dict[str, np.ndarray]


def _in_flight(batching: Batching | None) -> int:
    """Return how many requests run at once at most: what half fills the batches of every thread; more only wait longer."""
    if batching is None:
        return 2
    return max(batching.max_batch_size * batching.num_batch_threads // 2, batching.num_batch_threads)


class Engine:
    """Serves every configured model until `close`.

    `runs` counts how often a graph was run for a request. `listeners` are called, in any thread, after every change of a
    version's state or of the configuration and at the start of draining.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        file = settings.batching_parameters_file
        self.batching = None if file is None else read_batching(file)
        running = settings.max_in_flight or _in_flight(self.batching)
        if self.batching is not None:  # admission bounds what is enqueued; the queue behind it must not be the narrower
            self.batching = self.batching._replace(
                max_enqueued_batches=max(running, self.batching.max_enqueued_batches)
            )
        self._threads = 1 if self.batching is None else self.batching.num_batch_threads
        filling = 0.0 if self.batching is None else self.batching.batch_timeout_micros / 1e6
        limit = Limit(settings.max_in_flight or self._threads, running, filling)
        adaptive = settings.max_waiting < 0
        self.admission = Admission(limit, (running + 1) // 2 if adaptive else settings.max_waiting, adaptive)
        self.reading = Reading(READING, settings.message_seconds)
        self.memory = Memory(settings.max_bytes_in_flight or machine.memory() // 2)
        self.metrics = Metrics(__version__, partial(gauges, self))
        self.metrics_path = metrics_path(settings.monitoring_config_file)
        self.models = Models(self._configs(), self._load, self._notify, settings.load_retry_seconds)
        self.draining = False
        self.runs = 0
        self._pool = ThreadPoolExecutor(running + self.admission.waiting, thread_name_prefix="run")
        self.listeners: list[Callable[[], None]] = []
        self.watcher = Watcher(self.models, settings, self._configs)

    def _configs(self) -> dict[str, ServedModel]:
        settings = self.settings
        if settings.model_config_file is not None:
            return read_models(settings.model_config_file)
        folder = Path(settings.model_dir or "")
        if not folder.is_dir():
            raise ValueError(f"`model_dir` must be a folder; make one with `seghgan export`. Received: {folder}")
        if (folder / "saved_model.pb").exists():
            raise ValueError(f"`model_dir` must be the folder above the version folders. Received: a version, {folder}")
        return {settings.model_name: ServedModel(settings.model_name, folder)}

    def _load(self, name: str, version: int, folder: Path) -> Servable:
        return Servable(name, version, folder, self.batching, self.settings.enable_model_warmup)

    def start(self) -> None:
        """Load the models and watch their folders; ValueError where no model has a version that can be served."""
        self.models.poll()
        broken = {}
        for name in self.models.names:
            try:
                with self.models.use(name):
                    pass
            except ServingError as error:
                broken[name] = self._why(name) or error.message
        if broken:
            raise ValueError("; ".join(f"No version of {name} can be served: {why}" for name, why in broken.items()))
        running = self.admission.limit.most + self.admission.waiting
        self.reading.most = max(running, min(READING, self.memory.most // self.body_bytes()))
        self.watcher.start()

    def _why(self, name: str) -> str:
        try:
            errors = [f"version {one.version}: {one.message}" for one in self.models.status(name) if one.message]
        except ServingError as error:
            return error.message
        return "; ".join(errors)

    async def predict(
        self,
        question: Callable[[], Question],
        pack: Callable[[Prediction], T],
        deadline: float | None = None,
        protocol: str = "grpc",
        weight: Callable[[], int] = lambda: 0,
    ) -> T:
        """Answer what `question` returns as soon as there is a place and never after `deadline`; `pack` makes the answer's form.

        All are called in the thread that runs the graph, so that a request takes nothing before it is let in. `weight` tells
        what bytes `question` and its inputs take until they are arrays; `question` waits until there is room for them. Whoever
        is cancelled leaves the queues for a place and for memory; a graph that runs already is not interrupted. `deadline` is on
        `time.monotonic`'s clock.
        """
        start = time.monotonic()
        try:
            with self.counting(protocol):
                waited = await self.admission.enter(deadline)
        except asyncio.CancelledError:
            self.metrics.shed("CANCELLED", protocol)
            raise
        loop = asyncio.get_running_loop()
        progress = Progress(self.admission, loop, deadline)
        few = (beside := self.admission.inside) <= self._threads

        def run() -> T:
            with contextlib.ExitStack() as read:
                read.enter_context(self._hold(weight(), progress))
                return pack(self._answer(question(), progress, few, read))

        running = loop.run_in_executor(self._pool, run)
        began = time.monotonic()

        def finish(done: asyncio.Future[T]) -> None:
            code = _code(None if done.cancelled() else done.exception())
            progress.leave(time.monotonic() - began if code == "OK" else None, beside)
            if not progress.ran and any(code == one.name for one in SHED):  # it waited for memory and never ran
                self.metrics.shed(code, protocol)
                return
            seconds = time.monotonic() - start
            which = (progress.model, progress.version, progress.signature)
            self.metrics.finished(Outcome(*which, protocol, code, seconds, waited, progress.examples))

        running.add_done_callback(finish)
        try:
            return await asyncio.shield(running)
        finally:
            progress.forget()
            self.memory.wake()

    def _hold(self, count: int, progress: Progress) -> contextlib.AbstractContextManager[None]:
        return self.memory.hold(count, progress.deadline, lambda: progress.gone, progress.aside)

    def _answer(self, asked: Question, progress: Progress, few: bool, read: contextlib.ExitStack) -> Prediction:
        with self.models.use(asked.model, asked.version, asked.label) as servable:
            progress.model, progress.version = servable.name, str(servable.version)
            endpoint = servable.endpoint(asked.signature)
            progress.signature = endpoint.name
            inputs = asked.inputs(endpoint.signature)
            read.close()
            endpoint.check(inputs, asked.output_filter)
            if not self.settings.strict_compatibility:
                check_pictures(endpoint.signature, inputs, servable.manifest["model"])
            progress.examples = len(next(iter(inputs.values())))
            with self._hold(photo_bytes(endpoint.signature, inputs), progress):
                if progress.deadline is not None and time.monotonic() >= progress.deadline:
                    raise late()
                if progress.gone:
                    raise cancelled()
                self.runs, progress.ran = self.runs + 1, True
                outputs = endpoint.run(inputs, alone=few)
            chosen = asked.output_filter or outputs
            return Prediction(servable.name, servable.version, endpoint.name, {name: outputs[name] for name in chosen})

    async def receive(self, message: Callable[[], Awaitable[T]], predicts: bool) -> T:
        """Return the message that `message` reads; a prediction is turned away unread where nothing more is let in.

        ServingError, not counted, as of `Reading.read` and `Admission.busy`.
        """
        if predicts and self.admission.full:
            raise self.admission.busy()
        return await self.reading.read(message())

    @contextlib.contextmanager
    def counting(self, protocol: str) -> Iterator[None]:
        """Count whoever is turned away inside the block; `predict` counts its own."""
        try:
            yield
        except ServingError as error:
            self.metrics.shed(error.code.name, protocol)
            raise

    def ready(self) -> bool:
        """Return whether every model and label answers and the server is not draining."""
        return not self.draining and self.models.ready()

    def _notify(self) -> None:
        for listener in list(self.listeners):
            listener()

    def drain(self) -> None:
        """Report NOT_SERVING from now on; requests are still answered."""
        self.draining = True
        self._notify()

    def close(self, seconds: float = 1.0) -> bool:
        """Stop watching and unload every model; False where a load goes on after `seconds`, which nothing can stop."""
        if not self.watcher.stop(seconds):
            return False
        self._pool.shutdown()
        return self.models.close(seconds)

    def body_bytes(self) -> int:
        """Return the largest body of a REST request: as JSON, a message takes a third more."""
        return self.message_bytes() * 4 // 3 + (1 << 20)

    def message_bytes(self) -> int:
        """Return the largest message that the served models need."""
        largest = 0
        for name in self.models.names:
            with self.models.use(name) as servable:
                largest = max(largest, message_bytes(int(servable.manifest["model"]["image_size"])))
        return self.settings.max_message_bytes or largest


def _code(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    return error.code.name if isinstance(error, ServingError) else "INTERNAL"
