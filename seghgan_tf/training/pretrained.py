"""The small checkpoint that comes with the package, and how one is made from a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from seghgan_tf.model import SegHGAN

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
ROLES = ("segmenter", "generator", "critic")


def save_weights(model: SegHGAN, path: Path, facts: dict[str, Any]) -> None:
    """Write the trainable weights as float16 with the generators averaged, and `facts` beside them as JSON.

    Optimizer moments are left out: what starts from these weights starts a new run.
    """
    with model.averaged():
        weights = {v.path: v.numpy().astype(np.float16) for role in ROLES for v in model.role_variables(role)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **weights)
    path.with_suffix(".json").write_text(
        json.dumps({"model": model.config.model_dump(mode="json"), **facts}, indent=2) + "\n"
    )


def load_weights(model: SegHGAN, path: Path) -> None:
    """Fill a model with weights that `save_weights` wrote, running averages included.

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
