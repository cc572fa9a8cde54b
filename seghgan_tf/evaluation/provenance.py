"""What figures are figures of: the weights, the records and the networks that judged, so that no others' are taken for them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seghgan_tf.config import Config
from seghgan_tf.data.folder import read_dataset_json, split_of
from seghgan_tf.evaluation.networks import Signature
from seghgan_tf.model import SegHGAN


def weights_digest(model: SegHGAN) -> str:
    """Return the SHA-256 of all weights in their order, float32 as they are trained, running averages included."""
    found = hashlib.sha256()
    for weight in model.weights:
        found.update(np.ascontiguousarray(weight.numpy(), np.float32).tobytes())
    return found.hexdigest()


def records_digest(config: Config, split: str) -> str:
    """Return the SHA-256 of what the `dataset.json` of each folder of a run says of a split's shards."""
    folders = (*config.data.expression, *config.data.segmentation)
    shards = [split_of(read_dataset_json(folder), split)["shards"] for folder in folders]
    return hashlib.sha256(json.dumps(shards, sort_keys=True).encode()).hexdigest()


def measured(model: SegHGAN, config: Config, split: str, **networks: Signature) -> dict[str, Any]:
    """Return what figures keep as `measured`: SHA-256 of the `weights`, `split`, that of its `records`, and of each network's files.

    Of a model in training also its `step`.
    """
    return {
        **({"step": model.steps_done} if model.compiled else {}),
        "weights": weights_digest(model),
        "split": split,
        "records": records_digest(config, split),
        **{name: network.digest for name, network in networks.items()},
    }


def figures_for(model: SegHGAN, path: Path) -> dict[str, Any]:
    """Read the figures that `seghgan evaluate` wrote of this very model. Raises ValueError for another's, or where they do not say whose."""
    try:
        figures: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"`figures` must be the JSON of `seghgan evaluate`. Received: {path} ({error})") from error
    known: Mapping[str, Any] = figures.get("measured", {})
    if known.get("weights") != weights_digest(model):
        step = model.steps_done if model.compiled else "unknown"
        whose = f"those of step {known.get('step', 'unknown')}" if known else "figures that do not say of which"
        raise ValueError(
            f"`figures` must be of the weights that are exported, those of step {step}, because the manifest vouches for them; "
            f"evaluate again, with --best in both commands or in neither. Received: {path}, {whose}"
        )
    return figures
