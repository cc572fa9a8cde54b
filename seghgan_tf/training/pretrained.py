"""Weights to start from: the small checkpoint that comes with the package, another run's, and ImageNet's."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seghgan_tf.config import ModelConfig
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.optimizer import ROLES
from seghgan_tf.training import workdir

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


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


def load(path: Path) -> SegHGAN:
    """Make the model of a checkpoint that `save_weights` wrote, with its weights."""
    model = SegHGAN(ModelConfig.from_stored(facts(path)["model"]))
    load_weights(model, path)
    return model


class Match(NamedTuple):
    """What `start_from` found: variables filled, those the source lacks, and those of another shape there."""

    filled: int
    lacking: tuple[str, ...]
    other_shape: tuple[str, ...]

    def __str__(self) -> str:
        words = [f"{self.filled} of {self.filled + len(self.lacking) + len(self.other_shape)} variables match"]
        for why, paths in (("not there", self.lacking), ("of another shape", self.other_shape)):
            if paths:
                networks = sorted({path.split("/")[0] for path in paths})
                words.append(f"{len(paths)} {why} ({', '.join(networks)}): these start anew")
        return "; ".join(words)


def start_from(model: SegHGAN, source: Path) -> Match:
    """Fill a new model with the weights of the same path and shape in a run's folder, a `.keras` or an `.npz` file.

    Optimizer moments start anew; running averages start at the weights, which are the averaged ones of a run.
    Raises ValueError where nothing matches.
    """
    found = _weights_of(source)
    variables = {v.path: v for role in ROLES for v in model.role_variables(role)}
    lacking = tuple(path for path in variables if path not in found)
    other = tuple(path for path, v in variables.items() if path in found and found[path].shape != tuple(v.shape))
    filled = [path for path in variables if path not in {*lacking, *other}]
    if not filled:
        raise ValueError(f"`init_from` must hold weights of a like model. Received: {source}, in which nothing matches")
    for path in filled:
        variables[path].assign(found[path].astype(np.float32))
    for average, weight in zip(model.averages, model.role_variables("generator"), strict=True):
        average.assign(weight)
    return Match(len(filled), lacking, other)


def _weights_of(source: Path) -> dict[str, Any]:
    if source.suffix == ".npz":
        with np.load(source) as weights:
            return {name: weights[name] for name in weights.files}
    model = workdir.load_run(source) if source.is_dir() else workdir.load_checkpoint(source)
    with model.averaged():
        return {v.path: v.numpy() for role in ROLES for v in model.role_variables(role)}


def load_context_path(model: SegHGAN, preset: str) -> None:
    """Load ResNet-18 weights, by keras-hub's name or from a preset folder, into BiSeNet's context path.

    Raises ValueError for a U-Net, another width, or weights that are not there.
    """
    if model.config.segmenter != "bisenet" or model.config.segmenter_width != 64:
        raise ValueError(
            "`resnet_weights` must go with segmenter = bisenet and segmenter_width = 64, which is ResNet-18. Received: another segmenter"
        )
    from keras_hub.models import Backbone, ResNetBackbone

    if preset not in ResNetBackbone.presets and not (Path(preset) / "config.json").is_file():
        raise ValueError(
            f"`resnet_weights` must be a keras-hub name such as resnet_18_imagenet, or a preset folder with a config.json. Received: {preset}"
        )
    backbone = Backbone.from_preset(preset)
    model.segmenter.get_layer("context_pyramid").set_weights(backbone.get_weights())
