"""Checkpoints of trained weights alone, float16 with the facts beside them: what comes with the package."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from seghgan_tf.model.optimizer import ROLES

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
LACKING = "its masks are wrong until some training has found these anew (a `.keras` file of the same run has them)"


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


def variables_of(model: Any) -> dict[str, keras.Variable]:
    """Return by path what a model computes with: the weights of all roles, and the running statistics of its segmenter."""
    weights = [v for role in ROLES for v in model.role_variables(role)]
    return {v.path: v for v in (*weights, *model.segmenter.non_trainable_variables)}


def save(model: Any, path: Path, facts: dict[str, Any]) -> None:
    """Write the trainable weights as float16 with the generators averaged; beside them as JSON model, SHA-256 and `facts`.

    Running statistics of normalisations stay float32: a variance may leave float16's range. Optimizer moments are left out: what
    starts from these weights starts a new run.
    """
    with model.averaged():
        found = variables_of(model)
        weights = {name: v.numpy().astype(np.float16 if v.trainable else np.float32) for name, v in found.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **weights)
    known = {"model": model.config.model_dump(mode="json"), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(known | facts, indent=2) + "\n")


def load(model: Any, path: Path) -> None:
    """Fill a model with weights that `save` wrote, running averages included; warns where 0.1 left out running statistics.

    Raises ValueError where the weights are of another model.
    """
    variables, statistics = variables_of(model), {v.path for v in model.segmenter.non_trainable_variables}
    with np.load(path) as weights:
        shapes = {name: weights[name].shape for name in weights.files}
        if statistics and not statistics & shapes.keys():
            variables = {name: v for name, v in variables.items() if name not in statistics}
            warnings.warn(
                f"{path} lacks the running statistics of the segmenter's normalisations: {LACKING}", stacklevel=2
            )
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
