"""The folder of a run: its lock, its configuration, its history, and checkpoints that are whole or not there."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from seghgan_tf.config import Config, ModelConfig
from seghgan_tf.files import sha256, sync, write_atomically
from seghgan_tf.model import SegHGAN
from seghgan_tf.training import schedule  # noqa: F401 (checkpoints name its class)

CONFIG_FILE, HISTORY_FILE, LOCK_FILE, BEST = "config.json", "history.jsonl", "lock", "best.keras"
CHECKPOINTS = "checkpoints"
OLD_CHECKPOINT = "last.keras"
"""Where 0.1 kept its only checkpoint."""
KEPT = 3
"""How many of the last checkpoints stay, so that a damaged one costs an interval and not the run."""
MAY_CHANGE = {"data": ("cache", "workers")}
"""Settings outside of `training` that a run may go on with changed: its speed, and by `cache` (said aloud) the order of its photos."""


class FolderInUseError(RuntimeError):
    """Another process trains in the folder."""


@contextmanager
def locked(workdir: Path, chief: bool = True) -> Iterator[None]:
    """Hold the folder for this process, if it is the chief; the lock falls with the process, however it ends.

    Creates the folder. Raises FolderInUseError that names process and host where another one trains there.
    """
    (workdir / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    if not chief:
        yield
        return
    with (workdir / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise FolderInUseError(
                f"`workdir` must be a folder in which no other process trains; wait for it, or stop it with SIGTERM. "
                f"Received: {workdir}, where {file.read().strip()} trains"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def check_config(config: Config, workdir: Path) -> Config | None:
    """Return the configuration of the run that goes on in `workdir`, maybe with other `training` settings; None for a new one.

    Raises ValueError where a run with another model or other data lives there: resuming would mix the two.
    """
    if not ((workdir / CONFIG_FILE).is_file() and checkpoints(workdir)):
        return None
    found = read_config_of(workdir)
    before, now = found.model_dump(mode="json"), config.model_dump(mode="json")
    for part in ("model", "data"):
        for key in now[part].keys() - set(MAY_CHANGE.get(part, ())):
            if before[part][key] != now[part][key]:
                raise ValueError(
                    f"`workdir` must be a new folder, because the run in {workdir} has {part}.{key} = {before[part][key]}. "
                    f"Received: {part}.{key} = {now[part][key]}"
                )
    return found


def write_config(config: Config, workdir: Path) -> None:
    """Write the configuration of a run, which other workers may be reading."""
    write_atomically(workdir / CONFIG_FILE, config.model_dump_json(indent=2) + "\n")


def read_config_of(workdir: Path) -> Config:
    """Read the configuration of the run in `workdir`. Raises ValueError where there is none."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"`workdir` must be a folder of `seghgan train`, with a {CONFIG_FILE}. Received: {workdir}")
    values = json.loads(path.read_text())
    if "precision" in values["training"]:  # as 0.1 wrote it
        values["model"]["precision"] = values["training"].pop("precision")
    return Config.model_validate(values | {"model": ModelConfig.from_stored(values["model"])})


def checkpoints(workdir: Path) -> list[Path]:
    """Return the run's checkpoints, the newest first."""
    found = sorted((Path(workdir) / CHECKPOINTS).glob("step-*.keras"), reverse=True)
    old = Path(workdir) / OLD_CHECKPOINT
    return [*found, old] if old.is_file() else found


def _sum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.part.keras")


def whole(path: Path) -> bool:
    """Return whether a checkpoint is, byte for byte, what was written; one of 0.1 has no checksum and counts as whole."""
    return path.name == OLD_CHECKPOINT or _has_sum(path, path)


def _has_sum(file: Path, path: Path) -> bool:
    """Return whether `file` is what was written to be put at `path`."""
    sums = _sum_file(path)
    return file.is_file() and sums.is_file() and sums.read_text().split()[:1] == [sha256(file)]


def _put(path: Path) -> None:
    """Put what was written aside in its place, its SHA-256 beside it first (`sha256sum -c` reads it).

    A kill between the two leaves aside what has the checksum.
    """
    sync(_aside(path))
    write_atomically(_sum_file(path), f"{sha256(_aside(path))}  {path.name}\n")
    _aside(path).replace(path)


def not_finite(model: SegHGAN) -> list[str]:
    """Return the paths of the weights and moments that hold a NaN or an infinity."""
    variables = (*model.weights, *model.optimizer.variables)
    return [variable.path for variable in variables if not np.isfinite(np.asarray(variable)).all()]


def save(model: SegHGAN, workdir: Path, best: bool = False) -> None:
    """Write the checkpoint of the model's step, also as the best one if so, and delete all but the last three.

    What has its name is whole, whenever the process or the machine dies. The best one comes first: a run that is killed between
    the two goes on from the checkpoint before, and comes to this step again.
    """
    path = workdir / CHECKPOINTS / f"step-{model.steps_done:08}.keras"
    model.save(_aside(path))
    if best:
        shutil.copyfile(_aside(path), _aside(workdir / BEST))
        _put(workdir / BEST)
    _put(path)
    for old in [path for path in checkpoints(workdir) if path.name != OLD_CHECKPOINT][KEPT:]:
        old.unlink()
        _sum_file(old).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> SegHGAN:
    """Load a checkpoint (`.keras`), optimizer moments included. Raises ValueError where there is none."""
    if not Path(path).is_file():
        raise ValueError(f"`workdir` must hold checkpoints, which `seghgan train` writes. Received: {path}")
    return keras.saving.load_model(path)


def load_newest(workdir: Path, report: Callable[[str], None] = print) -> SegHGAN | None:
    """Load the newest checkpoint that is whole, and say which ones are not; None where the run has none yet.

    Raises ValueError where there are checkpoints and all are damaged.
    """
    found = checkpoints(workdir)
    for path in found:
        if whole(path):
            return load_checkpoint(path)
        report(f"warning: {path} is damaged (its SHA-256 is another); going back to the checkpoint before it")
    if found:
        raise ValueError(
            f"`workdir` must hold a whole checkpoint; train in a new folder. Received: {workdir}, all damaged"
        )
    return None


def load_run(workdir: Path, best: bool = False) -> SegHGAN:
    """Load the model of a run: its newest checkpoint that is whole, or its best. Raises ValueError where there is none."""
    if best:
        path = Path(workdir) / BEST
        for file in (path, _aside(path)):  # aside, where a kill came before it was in its place
            if _has_sum(file, path):
                return load_checkpoint(file)
        raise ValueError(
            f"`workdir` must hold a whole {BEST}; leave --best out to use the last one. Received: {workdir}"
        )
    model = load_newest(Path(workdir))
    if model is None:
        raise ValueError(f"`workdir` must hold checkpoints, which `seghgan train` writes. Received: {workdir}")
    return model


def read_history(workdir: Path) -> list[dict[str, float]]:
    """Return the evaluations of a run in order; a last line that a crash cut is left out."""
    path = Path(workdir) / HISTORY_FILE
    lines = path.read_text().splitlines() if path.is_file() else []
    history = []
    for line in lines:
        try:
            history.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return history


def cut_history(workdir: Path, step: int, chief: bool = True) -> list[dict[str, float]]:
    """Return the history up to `step`, from which the run goes on; the chief takes out of the file what lies after it."""
    kept = [line for line in read_history(workdir) if line["step"] <= step]
    path = workdir / HISTORY_FILE
    if chief and path.is_file():
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def append_history(workdir: Path, line: dict[str, Any]) -> None:
    """Add an evaluation; its checkpoint is written after it, so that no checkpoint lacks its line."""
    with (workdir / HISTORY_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")
