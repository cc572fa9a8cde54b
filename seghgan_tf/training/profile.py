"""A profile of some steps, for TensorBoard's profiler."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def parse_steps(text: str) -> tuple[int, int]:
    """Parse `START:STOP`. Raises ValueError for another form.

    >>> parse_steps("10:20")
    (10, 20)
    """
    start, _, stop = text.partition(":")
    if not (start.isdigit() and stop.isdigit() and 0 < int(start) < int(stop)):
        raise ValueError(f"`profile` must be START:STOP, two steps, as in 100:110. Received: {text}")
    return int(start), int(stop)


class Profile(keras.callbacks.Callback):
    """Profiles the steps from `start` up to `stop` into the run's TensorBoard folder."""

    def __init__(self, start: int, stop: int, folder: Path) -> None:
        super().__init__()
        self.start, self.stop, self.folder, self.running = start, stop, folder, False

    def on_train_begin(self, logs: Any = None) -> None:
        """Count from the step that the model is at."""
        self.step = self.model.steps_done

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Start before the step `start`."""
        self.step += 1
        if self.step == self.start:
            tf.profiler.experimental.start(str(self.folder))
            self.running = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop before the step `stop`."""
        if self.running and self.step >= self.stop - 1:
            self._finish()

    def on_train_end(self, logs: Any = None) -> None:
        """Stop where training ends earlier."""
        if self.running:
            self._finish()

    def _finish(self) -> None:
        tf.profiler.experimental.stop()
        self.running = False
