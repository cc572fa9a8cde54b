"""The versions of the served models: folders watched, new ones loaded before old ones go, handles counted."""

import contextlib
import ctypes
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from serving.bundle.manifest import versions
from serving.server.errors import ServingError, invalid, scrubbed
from serving.server.lifecycle import State, Version, VersionStatus
from serving.server.models_config import ServedModel
from serving.server.servable import Servable

logger = logging.getLogger(__name__)

_REMEMBERED = 16
"""Unloaded versions whose end a status call still tells."""


class Models:
    """Every served model; `poll` brings memory in line with folders and configuration.

    `load` makes a servable from (name, version, folder). `changed` is called after each change of a version's state or
    of the configuration. A load that failed is tried again after `retry_seconds`, then twice as long and so on, and at
    once where its folder changed. `troubles` is what is wrong with a model's folder now, by model name.
    """

    def __init__(
        self,
        configs: dict[str, ServedModel],
        load: Callable[[str, int, Path], Servable],
        changed: Callable[[], None] = lambda: None,
        retry_seconds: float = 5.0,
    ) -> None:
        self._configs = dict(configs)
        self._load = load
        self._changed = changed
        self._retry_seconds = retry_seconds
        self._lock = threading.RLock()
        self._polling = threading.Lock()
        self._versions: dict[str, dict[int, Version]] = {name: {} for name in configs}
        self.troubles: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """Names of the configured models."""
        return sorted(self._configs)

    def ready(self) -> bool:
        """Return whether every model has an available version and every label names one."""
        with self._lock:
            return bool(self._configs) and all(
                self._available(name) and set(config.labels.values()) <= set(self._available(name))
                for name, config in self._configs.items()
            )

    def _available(self, name: str) -> list[int]:
        versions = self._versions.get(name, {})
        return sorted(number for number, one in versions.items() if one.state is State.AVAILABLE)

    @contextlib.contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """Hold a version, the newest unless a number or a label is given; it stays loaded until the block ends."""
        with self._lock:
            chosen = self._choose(name, version, label)
            servable = chosen.servable
            if servable is None:
                raise ServingError(grpc.StatusCode.INTERNAL, f"{name} version {chosen.number} has no servable")
            chosen.handles += 1
        try:
            yield servable
        finally:
            del servable
            with self._lock:
                chosen.handles -= 1
                ends = not chosen.handles and chosen.state is State.UNLOADING
            if ends:  # in a thread of its own: no call waits for the memory of another version
                threading.Thread(target=self._end_apart, args=(name, chosen), name="unload").start()

    def _choose(self, name: str, version: int | None, label: str | None) -> Version:
        if not name:
            raise invalid("model_spec.name must name a model. Received: an empty name")
        if version is not None and label is not None:
            raise invalid("model_spec must have a version or a version_label. Received: both")
        if label is not None:
            labels = self._configs[name].labels if name in self._configs else {}
            if name in self._configs and label not in labels:
                raise invalid(f"Unrecognized servable version label: {label[:100]}. {name} has {sorted(labels)}")
            version = labels.get(label)
        asked = f"Latest({name[:100]})" if version is None else f"Specific({name[:100]}, {version})"
        available = self._available(name)
        if not available or (version is not None and version not in available):
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return self._versions[name][available[-1] if version is None else version]

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of every version of a model, or of one, newest first; NOT_FOUND where there is none."""
        found = sorted(self.versions(name), reverse=True)
        if version is not None:
            found = [status for status in found if status.version == version]
        if not found:
            wanted = "any versions" if version is None or name not in self._versions else f"version {version}"
            trouble = f". {self.troubles[name]}" if name in self.troubles else ""
            text = f"Could not find {wanted} of model {name[:100] or '(empty name)'}{trouble}"
            raise ServingError(grpc.StatusCode.NOT_FOUND, text)
        return found

    def versions(self, name: str) -> list[VersionStatus]:
        """Return the state of every version of a model, none where the model is unknown."""
        with self._lock:
            return [one.status() for one in self._versions.get(name, {}).values()]

    def examples(self, name: str) -> dict[tuple[int, str, int], int]:
        """Return how many examples ran, by (version, signature, size of the batch they ran in)."""
        with self._lock:
            loaded = [one.servable for one in self._versions.get(name, {}).values() if one.servable is not None]
        return {(one.version, *key): count for one in loaded for key, count in one.examples().items()}

    def poll(self) -> None:
        """Scan the folders once: load what is wanted, then unload what is not."""
        with self._polling:
            for name, config in list(self._configs.items()):
                self._poll_model(config, *self._scan(name, config))
            for name in set(self._versions) - set(self._configs):
                self._unload(name, list(self._versions.get(name, {}).values()))

    def _scan(self, name: str, config: ServedModel) -> tuple[set[int], dict[int, Path]]:
        """Return the versions to have in memory, and the folder of every version."""
        try:
            present = versions(config.base_path)
        except OSError as error:
            self._trouble(name, f"`base_path` cannot be read: {error.strerror}")
            return set(), {}
        wanted = config.wanted(set(present))
        missing = sorted(set(config.versions) - set(present))
        if missing:
            self._trouble(name, f"`base_path` has no versions {missing}, which the configuration asks for")
        elif not wanted:
            self._trouble(name, "`base_path` has no version folders such as `1`")
        else:
            self.troubles.pop(name, None)
        return wanted, present

    def _trouble(self, name: str, text: str) -> None:
        if self.troubles.get(name) != text:
            logger.warning("model folder", extra={"fields": {"model": name, "trouble": text}})
        self.troubles[name] = text

    def _poll_model(self, config: ServedModel, wanted: set[int], folders: dict[int, Path]) -> None:
        with self._lock:
            versions = self._versions.setdefault(config.name, {})
        for number in sorted(wanted):
            with self._lock:
                version = versions.setdefault(number, Version(number))
            self._ensure(config.name, version, folders[number])
        keep = set(config.labels.values()) | wanted
        with self._lock:
            replaced = any(number in wanted for number in self._available(config.name))
            old = [one for number, one in versions.items() if number not in keep]
        if replaced:
            self._unload(config.name, old)
        ended = sorted(number for number, one in versions.items() if one.state is State.END and number not in keep)
        with self._lock:
            for number in ended if wanted else ():
                versions[number].forgive()
            for number in ended[:-_REMEMBERED]:
                del versions[number]

    def _ensure(self, name: str, version: Version, folder: Path) -> None:
        with self._lock:
            back = version.state is State.UNLOADING
            if back:  # wanted again while calls still hold it
                version.state = State.AVAILABLE
        if back:
            self._tell(name, version)
        if not version.due(folder):
            return
        self._set(name, version, State.LOADING, error=version.error)  # told until a load succeeds
        try:
            servable = self._load(name, version.number, folder)
        except Exception as error:  # a model is foreign matter: whatever it raises, the others are served
            if not isinstance(error, (ValueError, OSError, MemoryError)):
                logger.exception("load", extra={"fields": {"model": name, "version": version.number}})
            version.failed(self._retry_seconds)
            self._set(name, version, State.END, error=scrubbed(str(error)) or type(error).__name__)
            return
        version.forgive()
        self._set(name, version, State.AVAILABLE, servable=servable)

    def _set(
        self, name: str, version: Version, state: State, error: str = "", servable: Servable | None = None
    ) -> None:
        with self._lock:
            version.state, version.error, version.servable = state, error, servable
        self._tell(name, version)

    def _tell(self, name: str, version: Version) -> None:
        level = logging.ERROR if version.error and version.state is State.END else logging.INFO
        fields = {"model": name, "version": version.number, "state": version.state.name, "error": version.error}
        logger.log(level, "version", extra={"fields": fields})
        self._changed()

    def _unload(self, name: str, versions: list[Version]) -> None:
        """Take versions out of use; each is gone once no call holds it."""
        for version in versions:
            with self._lock:
                leaves = version.state is State.AVAILABLE
                if leaves:
                    version.state = State.UNLOADING
            if leaves:
                self._changed()
            self._end(name, version)
        self._forget(name)

    def _end(self, name: str, version: Version) -> None:
        """Give the memory of a version back that is unloading, unless a call holds it."""
        with self._lock:
            servable = version.servable
            if version.state is not State.UNLOADING or version.handles or servable is None:
                return
            version.state, version.servable = State.END, None
        self._tell(name, version)
        servable.close()
        del servable
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def _end_apart(self, name: str, version: Version) -> None:
        self._end(name, version)
        # what a poll loads must not be dropped under it: the next one forgets
        if self._polling.acquire(blocking=False):
            try:
                self._forget(name)
            finally:
                self._polling.release()

    def _forget(self, name: str) -> None:
        """Drop what has ended of a model that is configured no more; only whoever polls may call it."""
        with self._lock:
            if name not in self._configs and name in self._versions:
                self._versions[name] = {number: one for number, one in self._versions[name].items() if one.loaded}
                if not self._versions[name]:
                    del self._versions[name]

    def reconfigure(self, configs: dict[str, ServedModel]) -> None:
        """Take a new configuration and poll; all of it or, where a label may not move, nothing.

        A label that is in use may only move to an available version (FAILED_PRECONDITION).
        """
        with self._lock:
            for name, config in configs.items():
                before = self._configs[name].labels if name in self._configs else {}
                for label, number in config.labels.items():
                    if label in before and before[label] != number and number not in self._available(name):
                        raise ServingError(
                            grpc.StatusCode.FAILED_PRECONDITION,
                            f"Label {label!r} of {name} must move to an available version; load it first, then move the "
                            f"label. Received: version {number}",
                        )
            self._configs = dict(configs)
            for name in configs:
                self._versions.setdefault(name, {})
        self._changed()
        self.poll()

    def close(self, seconds: float = -1.0) -> bool:
        """Unload everything; False where a load goes on after `seconds` (negative: without limit)."""
        if not self._polling.acquire(timeout=seconds):
            return False
        try:
            self._configs = {}
            for name, versions in list(self._versions.items()):
                self._unload(name, list(versions.values()))
        finally:
            self._polling.release()
        return True
