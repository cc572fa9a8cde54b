"""A progress bar for training: step, rate, time left, and the figures that matter."""

from types import TracebackType
from typing import Any, Self

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SHOWN = ("segmentation", "miou", "paired", "expression", "critic")


class ProgressBar(keras.callbacks.Callback):
    """Shows training on a console; use it in a `with` block and pass it to `train`."""

    def __init__(self, steps: int, console: Console) -> None:
        super().__init__()
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )  # fmt: skip
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task("train", total=steps, figures="first step: tracing")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        """Start at the step that training resumes from."""
        self.bar.update(self.task, completed=self.model.steps_done)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advance by a step."""
        self.bar.advance(self.task)
        if batch % 10 == 0 and logs:
            figures = " ".join(f"{name} {float(logs[name]):.3f}" for name in SHOWN)
            self.bar.update(self.task, figures=figures, description=self.model.stage)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print the evaluation that just ended."""
        if logs and "val_miou" in logs:
            figures = ", ".join(f"{name} {logs[f'val_{name}']:.3f}" for name in SHOWN if logs.get(f"val_{name}"))
            self.bar.console.print(f"step {self.model.steps_done}: {figures}")
