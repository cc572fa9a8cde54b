"""The watcher: looks at version folders and at models.config again and again, whatever it finds there."""

import logging
import threading
import time
from collections.abc import Callable

from serving.server.errors import ServingError
from serving.server.models_config import ServedModel
from serving.server.settings import Settings
from serving.server.versions import Models

logger = logging.getLogger(__name__)


STUCK_SECONDS = 600.0
"""How long a look may take, with the loads of what it finds, before the watcher counts as stuck."""


class Watcher:
    """Keeps models in line with their folders and, where it is a file, with the configuration that `configs` reads.

    `clock` is `time.monotonic` or what a test has in its place.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        configs: Callable[[], dict[str, ServedModel]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._configs, self._clock = models, configs, clock
        self._looked = clock()
        self._folders = settings.file_system_poll_wait_seconds
        self._file = 0.0 if settings.model_config_file is None else settings.model_config_file_poll_wait_seconds
        self._period = min((seconds for seconds in (self._folders, self._file) if seconds > 0), default=0.0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-models", daemon=True)
        self._trouble = ""

    def start(self) -> None:
        """Watch from now on, unless nothing is to be looked at again."""
        if self._period:
            self._looked = self._clock()
            self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Stop watching; False where a load goes on after `seconds`."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether folders are looked at again and again, the last time not too long ago, or were not to be."""
        stuck = self._clock() - self._looked > self._period + STUCK_SECONDS
        return self._thread.ident is None or (self._thread.is_alive() and not stuck)

    def _watch(self) -> None:
        folders = file = time.monotonic()
        while not self._stopped.wait(self._period):
            now = time.monotonic()
            try:
                if self._file and now - file >= self._file * 0.99:
                    file = now
                    self._reread()
                if self._folders and now - folders >= self._folders * 0.99:
                    folders = now
                    self._models.poll()
            except Exception:  # whatever is wrong with a folder today, tomorrow's version is to be found
                logger.exception("watching goes on")
            self._looked = self._clock()

    def _reread(self) -> None:
        try:
            self._models.reconfigure(self._configs())
            self._trouble = ""
        except (ValueError, OSError, ServingError) as error:
            if str(error) != self._trouble:
                logger.error("models.config keeps its old meaning", extra={"fields": {"trouble": str(error)}})
            self._trouble = str(error)
