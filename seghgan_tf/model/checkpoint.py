"""Checkpoints of trained weights alone, float16 with the facts beside them: what comes with the package."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from seghgan_tf.model.optimizer import ROLES

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


def path_of(preset: str | Path) -> Path:
    """Return the file of weights that a preset's name or a path names. Raises ValueError where there is none.

    >>> path_of("drawn-64").name
    'drawn-64.npz'
    """
    path = Path(preset) if Path(preset).suffix == ".npz" else CHECKPOINTS / f"{preset}.npz"
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        names = sorted(file.stem for file in CHECKPOINTS.glob("*.json") if "model" in facts(file))
        raise ValueError(
            f"`preset` must be one of {', '.join(names)}, or an .npz file with its .json beside it. Received: {preset}"
        )
    return path


def save(model: Any, path: Path, facts: dict[str, Any]) -> None:
    """Write the trainable weights as float16 with the generators averaged; beside them as JSON model, SHA-256 and `facts`.

    Optimizer moments are left out: what starts from these weights starts a new run.
    """
    with model.averaged():
        weights = {v.path: v.numpy().astype(np.float16) for role in ROLES for v in model.role_variables(role)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **weights)
    known = {"model": model.config.model_dump(mode="json"), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(known | facts, indent=2) + "\n")


def load(model: Any, path: Path) -> None:
    """Fill a model with weights that `save` wrote, running averages included.

    Raises ValueError where the weights are of another model.
    """
    variables = {v.path: v for role in ROLES for v in model.role_variables(role)}
    with np.load(path) as weights:
        shapes = {name: weights[name].shape for name in weights.files}
        if shapes != {name: tuple(v.shape) for name, v in variables.items()}:
            raise ValueError(
                f"`path` must hold the weights of this very model; see {path.with_suffix('.json').name}. Received: {path}"
            )
        for name, variable in variables.items():
            variable.assign(weights[name].astype(np.float32))
    for average, weight in zip(model.averages, model.role_variables("generator"), strict=True):
        average.assign(weight)


def facts(path: Path) -> dict[str, Any]:
    """Read what is known of a checkpoint: its model, command, seed, time, and figures."""
    values: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return values
