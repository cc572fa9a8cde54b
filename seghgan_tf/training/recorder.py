"""What a run writes as it goes: history, checkpoints, TensorBoard, warnings; and a plain stop on NaN or a signal."""

import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from seghgan_tf.config import TrainingConfig
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.seghgan import Stage
from seghgan_tf.pictures import color_mask, gray, grid, to_pixels
from seghgan_tf.progress import Move
from seghgan_tf.training import cluster, health, runs, workdir

NAN = (
    "{what} became NaN at step {step}; the last good state is kept. Try --set training.learning_rate= half of it, "
    "a larger batch, or a smaller model.losses.adversarial"
)
JUDGED_BY = {"val_paired": 1, "val_expression": 1, "val_miou": -1}
"""What an evaluation is judged by, and whether less of it (1) or more (-1) is better: the error against true targets where there are
some, else that of the expressions seen in edits; where no edit was trained yet, the masks."""
JOINT = ("adversarial", "expression", "cycle", "critic", "gradient_penalty")
NOT_YET: dict[Stage, tuple[str, ...]] = {
    "segmenter": (
        *JOINT, "attention", "attention_variation", "paired", "critic_expression", "gan_gradient_norm", "segmentation_gradient_norm",
    ),
    "paired": JOINT,
    "joint": (),
}  # fmt: skip
"""Figures of networks that a stage does not train: its history has none of them, so that a critic's or an attention's 0 is a measured one."""
TOLD = ("segmentation", "miou", "paired", "expression", "critic")
"""Figures that are shown as a run goes."""


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


def is_best(history: list[dict[str, float]]) -> bool:
    """Return whether the last evaluation is the best by the first of `JUDGED_BY` that any evaluation has (0, of 0.1: its stage had none).

    >>> is_best([{"val_miou": 0.5}, {"val_miou": 0.6}]), is_best([{"val_miou": 0.6}, {"val_expression": 0.2, "val_miou": 0.5}])
    (True, True)
    """
    for name, sign in JUDGED_BY.items():
        if found := [sign * line[name] for line in history if line.get(name)]:
            return sign * history[-1].get(name, 0.0) == min(found)
    return False


def told(values: Mapping[str, Any], prefix: str = "") -> str:
    """Return the figures to show, of those that there are.

    >>> told({"val_miou": 0.51234, "miou": 0.4, "val_paired": 0.0}, "val_")
    'miou 0.512'
    """
    return ", ".join(f"{name} {float(values[prefix + name]):.3f}" for name in TOLD if values.get(prefix + name))


class Recorder(keras.callbacks.Callback):
    """Keeps the run's state, shows how far it is, and stops it at step `end`, on NaN, on a signal, or on a warning if asked to."""

    def __init__(
        self, folder: Path, sample: dict[str, Any], report: Callable[[str], None], move: Move, settings: TrainingConfig
    ) -> None:
        super().__init__()
        self.folder, self.sample, self.report, self.move, self.settings = folder, sample, report, move, settings
        self.end = 0
        self.stopped: str | None = None
        self.signal, self.leaving = 0, False
        self.strategy = tf.distribute.get_strategy()
        self.chief = cluster.is_chief(self.strategy)
        self.history: list[dict[str, float]] = []
        self.previous: dict[int, Any] = {}

    def open(self, model: SegHGAN) -> None:
        """Take up the history at the model's step, listen for the signals that ask for an orderly end, and open TensorBoard's file."""
        self.history = workdir.cut_history(self.folder, model.steps_done, self.chief)
        self.began = time.monotonic() - (self.history[-1]["seconds"] if self.history else 0.0)
        if os.environ.get("SEGHGAN_SIGNALS", "1") == "1":
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._on_signal)
        events = str(self.folder / "tensorboard")
        self.writer = tf.summary.create_file_writer(events) if self.chief else tf.summary.create_noop_writer()
        with self.writer.as_default():
            settings = runs.flat(workdir.read_config_of(self.folder).model_dump(mode="json"))
            hparams.hparams(
                {key: value if isinstance(value, int | float) else str(value) for key, value in settings.items()}
            )

    def close(self) -> None:
        """Give the signals back."""
        self.writer.close()
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        self.signal = number

    def on_train_begin(self, logs: Any = None) -> None:
        """Count from the step that the model is at."""
        self.step = self.model.steps_done
        self.move(self.step, self.settings.steps, "first step: tracing")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop at the last step, on a signal (once the evaluation is done, where one is due), or on a loss that is no number any more."""
        self.step += 1
        self.move(self.step, self.settings.steps, f"{self.model.stage} {told(logs or {})}")
        if self.step >= self.end:
            self.model.stop_training = True
        if cluster.agree(self.strategy, bool(self.signal)):
            self.signal, self.leaving = self.signal or signal.SIGTERM, True
            if batch + 1 < self.params["steps"] and self.step < self.end and not self._broken({}):
                self._leave()
                if self.chief:
                    workdir.save(self.model, self.folder)
        elif wrong := [name for name, value in (logs or {}).items() if not math.isfinite(float(value))]:
            self._stop(NAN.format(what=", ".join(wrong[:5]), step=self.step))

    def _leave(self) -> None:
        self._stop(f"received {signal.Signals(self.signal).name}; the same command goes on from step {self.step}")

    def _stop(self, why: str) -> None:
        self.stopped = why
        self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write history line, checkpoint, scalars and image grid, and say what looks wrong."""
        if self.stopped:
            return
        values = {name: float(value) for name, value in (logs or {}).items()}
        if self._broken(values):
            return
        values = {
            key: value for key, value in values.items() if key.removeprefix("val_") not in NOT_YET[self.model.stage]
        }
        line = {"step": self.step, "seconds": round(time.monotonic() - self.began, 1), **values}
        self.history.append(line)
        if self.chief:
            workdir.append_history(self.folder, line)
            workdir.save(self.model, self.folder, is_best(self.history))
            self._draw(values)
            self.report(f"step {self.step}: {told(values, 'val_')}")
        for warning in health.warnings(self.history):
            if self.chief:
                self.report(f"warning: step {self.step}: {warning}")
            if self.settings.stop_on_warning:
                self._stop(f"{warning} (step {self.step}; training.stop_on_warning is set)")
        if self.leaving and self.step < self.settings.steps:
            self._leave()

    def _draw(self, values: dict[str, float]) -> None:
        with self.writer.as_default(self.step), self.model.averaged():
            for name, value in values.items():
                tf.summary.scalar(name, value)
            tf.summary.scalar("warnings", len(health.warnings(self.history)))
            tf.summary.image("image, mask, attention, edit, reconstruction", picture(self.model, **self.sample)[None])
        self.writer.flush()

    def _broken(self, values: dict[str, float]) -> bool:
        """Stop where a figure, a weight or a moment is no finite number: such a state is never saved."""
        wrong = [name for name, value in values.items() if not math.isfinite(value)] or workdir.not_finite(self.model)
        if wrong:
            self._stop(NAN.format(what=", ".join(wrong[:5]), step=self.step))
        return bool(wrong)
