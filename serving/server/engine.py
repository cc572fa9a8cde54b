"""The engine behind both protocols: admission, versions, batching and metrics. gRPC and REST are thin skins over it.

    engine = Engine(settings)            # reads configuration; nothing is loaded yet
    engine.start()                       # loads the models; ValueError where none can be served
    answer = engine.predict(read, deadline=time.monotonic() + 5, alive=lambda: True, protocol="rest")
    engine.signatures("seghgan", version=None, label="stable")  # -> (version, {name: Signature})
    engine.manifest("seghgan")           # -> the manifest of the version that would answer
    engine.status("seghgan")             # -> [VersionStatus(version, state, code, message)], newest first
    engine.ready()                       # every model and label answers, and the server is not draining
    engine.metrics.render()              # -> bytes for Prometheus; engine.metrics_path is their path or None

`predict` takes a function `read() -> Request`. It is called only once the request is let in, so that parsing is
bounded too; what it raises (ServingError for bad input) reaches the caller. `deadline` is on `time.monotonic`'s clock;
`alive()` says whether the caller still waits. Everything raises `ServingError(code, message)` with a grpc.StatusCode.
A version resolved by `engine.models.use(model, version, label)` stays loaded while the block runs.

A REST server is a module `serving.server.rest_server` with `start(engine, settings) -> object` that has `port: int` (the port
it listens on) and `stop(grace: float)`; `settings.host` and `settings.rest_port` (0 is any) say where to listen.
"""

import dataclasses
import importlib.metadata
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
from prometheus_client.core import Metric

from serving.server.admission import Gate, check_pictures
from serving.server.batching import Batching, read_batching
from serving.server.errors import ServingError
from serving.server.metrics import Metrics, Outcome, gauge, metrics_path
from serving.server.models_config import ModelConfig, read_models
from serving.server.servable import Servable
from serving.server.settings import Settings
from serving.server.versions import Models, VersionStatus
from serving.signature import Signature, message_bytes

logger = logging.getLogger(__name__)

SHED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a model; an empty `signature` is `serving_default`."""

    model: str
    inputs: dict[str, np.ndarray]
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
    """Return how many requests run at once: what half fills the batches of every thread; more only makes each wait longer."""
    if batching is None:
        return 2
    return max(batching.max_batch_size * batching.num_batch_threads // 2, batching.num_batch_threads)


@dataclasses.dataclass
class _Progress:
    model: str = ""
    version: str = ""
    signature: str = ""
    examples: int = 0


class Engine:
    """Serves every configured model until `close`; its methods may be called from many threads.

    `runs` counts how often a graph was run for a request.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        file = settings.batching_parameters_file
        self.batching = None if file is None else read_batching(file)
        running = settings.max_in_flight or _in_flight(self.batching)
        if self.batching is not None:  # the gate bounds what is enqueued; the queue behind it must not be the narrower
            self.batching = self.batching._replace(
                max_enqueued_batches=max(running, self.batching.max_enqueued_batches)
            )
        self.gate = Gate(running, (running + 1) // 2 if settings.max_waiting < 0 else settings.max_waiting)
        self.metrics = Metrics(importlib.metadata.version("seghgan-tf"), self._gauges)
        self.metrics_path = metrics_path(settings.monitoring_config_file)
        self.models = Models(self._configs(), self._load, self._notify)
        self.draining = False
        self.runs = 0
        self._listeners: list[Callable[[], None]] = []
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch-models", daemon=True)
        self._config_trouble = ""

    def _configs(self) -> dict[str, ModelConfig]:
        settings = self.settings
        if settings.model_config_file is not None:
            return read_models(settings.model_config_file)
        folder = Path(settings.model_dir or "")
        if not folder.is_dir():
            raise ValueError(f"`model_dir` must be a folder; make one with `seghgan export`. Received: {folder}")
        if (folder / "saved_model.pb").exists():
            raise ValueError(f"`model_dir` must be the folder above the version folders. Received: a version, {folder}")
        return {settings.model_name: ModelConfig(settings.model_name, folder)}

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
        if self._period():
            self._watcher.start()

    def _why(self, name: str) -> str:
        try:
            errors = [f"version {one.version}: {one.message}" for one in self.models.status(name) if one.message]
        except ServingError as error:
            return error.message
        return "; ".join(errors)

    def _period(self) -> float:
        settings = self.settings
        polls = [settings.file_system_poll_wait_seconds]
        if settings.model_config_file is not None:
            polls.append(settings.model_config_file_poll_wait_seconds)
        return min((seconds for seconds in polls if seconds > 0), default=0.0)

    def _watch(self) -> None:
        folders = configs = time.monotonic()
        settings = self.settings
        while not self._stopped.wait(self._period()):
            now = time.monotonic()
            every = settings.model_config_file_poll_wait_seconds if settings.model_config_file else 0.0
            if every and now - configs >= every * 0.99:
                configs = now
                self._reread()
            every = settings.file_system_poll_wait_seconds
            if every and now - folders >= every * 0.99:
                folders = now
                self.models.poll()

    def _reread(self) -> None:
        try:
            self.models.reconfigure(self._configs())
            self._config_trouble = ""
        except (ValueError, OSError, ServingError) as error:
            if str(error) != self._config_trouble:
                logger.error("models.config keeps its old meaning", extra={"fields": {"trouble": str(error)}})
            self._config_trouble = str(error)

    def predict(
        self,
        read: Callable[[], Request],
        deadline: float | None = None,
        alive: Callable[[], bool] | None = None,
        protocol: str = "grpc",
    ) -> Prediction:
        """Answer the request that `read` returns, as soon as there is a place and never after `deadline`."""
        start = time.monotonic()
        progress = _Progress()
        waited = 0.0
        code = grpc.StatusCode.OK
        admitted = False
        try:
            with self.gate.enter(deadline, alive) as waited:
                admitted = True
                return self._predict(read(), progress, deadline, alive)
        except ServingError as error:
            code = error.code
            raise
        except BaseException:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            if not admitted:
                self.metrics.shed(code.name, protocol)
            else:
                seconds = time.monotonic() - start
                self.metrics.finished(
                    Outcome(
                        progress.model,
                        progress.version,
                        progress.signature,
                        protocol,
                        code.name,
                        seconds,
                        waited,
                        progress.examples,
                    )
                )

    def shed(self, protocol: str) -> ServingError:
        """Count a request that is turned away unread, because the gate is full, and return its error."""
        error = self.gate.busy()
        self.metrics.shed(error.code.name, protocol)
        return error

    def _predict(
        self, request: Request, progress: _Progress, deadline: float | None, alive: Callable[[], bool] | None
    ) -> Prediction:
        signature = request.signature or "serving_default"
        with self.models.use(request.model, request.version, request.label) as servable:
            progress.model, progress.version = servable.name, str(servable.version)
            specs = servable.signature(signature)
            progress.signature = signature
            servable.check(signature, request.inputs, request.output_filter)
            if not self.settings.strict_compatibility:
                check_pictures(specs, request.inputs, servable.manifest["model"])
            progress.examples = len(next(iter(request.inputs.values())))
            Gate.check_caller(deadline, alive)
            self.runs += 1
            outputs = servable.run(signature, request.inputs, alone=self.gate.inside == 1)
            chosen = request.output_filter or outputs
            return Prediction(servable.name, servable.version, signature, {name: outputs[name] for name in chosen})

    def signatures(
        self, model: str, version: int | None = None, label: str | None = None
    ) -> tuple[int, dict[str, Signature]]:
        """Return the version that would answer and its signatures."""
        with self.models.use(model, version, label) as servable:
            return servable.version, servable.signatures

    def manifest(self, model: str, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Return the manifest of the version that would answer."""
        with self.models.use(model, version, label) as servable:
            return servable.manifest

    def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of a model's versions, newest first; NOT_FOUND where there is none."""
        return self.models.status(model, version)

    def reload(self, configs: dict[str, ModelConfig]) -> None:
        """Serve these models from now on; waits for loads. FAILED_PRECONDITION where a label may not move."""
        self.models.reconfigure(configs)

    def ready(self) -> bool:
        """Return whether every model and label answers and the server is not draining."""
        return not self.draining and self.models.ready()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change of a version's state and at the start of draining."""
        self._listeners.append(listener)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    def drain(self) -> None:
        """Report NOT_SERVING from now on; requests are still answered."""
        self.draining = True
        self._notify()

    def close(self) -> None:
        """Stop watching and unload every model."""
        self._stopped.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.models.close()

    def message_bytes(self) -> int:
        """Return the largest message that the served models need."""
        largest = 0
        for name in self.models.names:
            manifest = self.manifest(name)
            largest = max(largest, message_bytes(int(manifest["model"]["image_size"])))
        return self.settings.max_message_bytes or largest

    def _gauges(self) -> Iterator[Metric]:
        yield gauge("seghgan_in_flight", "Requests that run now.", [], [((), self.gate.inside)])
        yield gauge("seghgan_waiting", "Requests that wait for a place.", [], [((), self.gate.queued)])
        yield gauge("seghgan_ready", "1 while every model and label answers.", [], [((), float(self.ready()))])
        names = self.models.names
        states = [((name, str(v.version)), float(v.state)) for name in names for v in self.models.versions(name)]
        yield gauge("seghgan_version_state", "State of a version (30 is AVAILABLE).", ["model", "version"], states)
        failed = [((name, str(v.version)), float(bool(v.message))) for name in names for v in self.models.versions(name)]
        yield gauge("seghgan_version_failed", "1 where a version could not be loaded.", ["model", "version"], failed)
        watching = self._watcher.ident is None or self._watcher.is_alive()
        yield gauge("seghgan_watching", "0 once new versions and labels are not looked for any more.", [], [((), watching)])
        sizes = [
            ((name, str(version), key, str(size)), float(count))
            for name in names
            for (version, key, size), count in self.models.examples(name).items()
        ]
        yield gauge(
            "seghgan_batched_examples",
            "Examples run, by the size of the batch they ran in (padding included).",
            ["model", "version", "signature", "batch_size"],
            sizes,
        )
