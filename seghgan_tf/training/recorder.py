"""What a run leaves in its work folder: checkpoints, history, TensorBoard; and a plain stop on NaN or a signal."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seghgan_tf.model import SegHGAN
from seghgan_tf.pictures import color_mask, gray, grid, to_pixels
from seghgan_tf.training import cluster

CHECKPOINT = "last.keras"
HISTORY_FILE = "history.jsonl"
VANISHED = 2e-4
"""A region whose mean probability falls under this share of the image is reported as vanishing."""


def save_model(model: SegHGAN, path: Path) -> None:
    """Write a checkpoint aside, then put it in place, so that a crash leaves the last one whole."""
    aside = path.with_name(f".{path.stem}.part.keras")
    model.save(aside)
    os.replace(aside, path)


def picture(model: SegHGAN, image: Any, expression: Any) -> np.ndarray:
    """Return rows of image, mask, attention, edit and reconstruction as one (H, W, 3) uint8 picture."""
    edit = model({"image": image, "expression": expression})
    back = model({"image": edit["edited"], "expression": model.analyze(image)})["edited"]
    labels = model.segment(image)["labels"]
    columns = [
        to_pixels(image),
        color_mask(labels),
        gray(edit["attention"]),
        to_pixels(edit["edited"]),
        to_pixels(back),
    ]
    return grid([list(row) for row in zip(*columns, strict=True)])


class Recorder(keras.callbacks.Callback):
    """Keeps the run's state: checkpoints, history, TensorBoard, and a plain stop at step `end`, on NaN or a signal."""

    def __init__(self, workdir: Path, total: int, sample: dict[str, Any], report: Callable[[str], None]) -> None:
        super().__init__()
        self.workdir, self.end, self.sample, self.report = workdir, total, sample, report
        self.stopped: str | None = None
        self.signal = 0
        self.strategy = tf.distribute.get_strategy()
        self.chief = cluster.is_chief(self.strategy)

    def on_train_begin(self, logs: Any = None) -> None:
        """Open TensorBoard's file and listen for the signals that ask for an orderly end."""
        events = str(self.workdir / "tensorboard")
        self.writer = tf.summary.create_file_writer(events) if self.chief else tf.summary.create_noop_writer()
        self.began, self.step = time.monotonic(), self.model.steps_done
        self.previous = {}
        if os.environ.get("SEGHGAN_SIGNALS", "1") == "1":
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        self.signal = number

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop at the last step, on a signal, or on a loss that is no number any more."""
        self.step += 1
        if self.step >= self.end:
            self.model.stop_training = True
        if cluster.agree(self.strategy, bool(self.signal)):
            self.signal = self.signal or signal.SIGTERM
            self.stopped = f"received {signal.Signals(self.signal).name}; the same command goes on from step {self.model.steps_done}"
            self._save()
            self.model.stop_training = True
        elif logs and not all(math.isfinite(float(value)) for value in logs.values()):
            wrong = ", ".join(name for name, value in logs.items() if not math.isfinite(float(value)))
            self.stopped = (
                f"{wrong} became NaN at step {self.model.steps_done}. {CHECKPOINT} is the last good state; "
                "try --set training.learning_rate= half of it, a larger batch, or a smaller model.losses.adversarial"
            )
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write checkpoint, history line, scalars and image grid."""
        if self.stopped or not self.chief:
            return
        step = self.model.steps_done
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._save()
        line = {"step": step, "seconds": round(time.monotonic() - self.began, 1), **values}
        with (self.workdir / HISTORY_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        with self.writer.as_default(step), self.model.averaged():
            for name, value in values.items():
                tf.summary.scalar(name, value)
            tf.summary.image("image, mask, attention, edit, reconstruction", picture(self.model, **self.sample)[None])
        self.writer.flush()
        for name in ("eyes", "nose", "mouth"):
            if values.get(f"area_{name}", 1.0) < VANISHED:
                self.report(
                    f"warning: the {name} mask is vanishing; lower model.segmenter_gradient_cap or train the segmenter longer"
                )

    def _save(self) -> None:
        if self.chief:
            save_model(self.model, self.workdir / CHECKPOINT)

    def on_train_end(self, logs: Any = None) -> None:
        """Give the signals back."""
        self.writer.close()
        for number, handler in self.previous.items():
            signal.signal(number, handler)
