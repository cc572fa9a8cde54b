"""Weights to start training from: another run's or a file's, and ImageNet's."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seghgan_tf.model import SegHGAN, checkpoint
from seghgan_tf.training import workdir

IMAGENET = np.array([(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)], np.float32)
"""Mean and deviation of ImageNet's colours in 0..1: keras-hub's ResNet weights take (image - mean) / deviation."""


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

    The segmenter's running statistics are among them. Optimizer moments start anew; running averages start at the weights, which are the averaged ones of a run.
    Raises ValueError where nothing matches.
    """
    found = _weights_of(source)
    variables = checkpoint.variables_of(model)
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
        return {path: v.numpy() for path, v in checkpoint.variables_of(model).items()}


def load_context_path(model: SegHGAN, preset: str) -> None:
    """Load ResNet-18 weights, by keras-hub's name or from a preset folder, into BiSeNet's context path.

    The scaling of colours that they were trained with goes into the first convolution and its normalisation, so that images in [-1, 1]
    give what ImageNet's colours would (but for the padding of the outermost 3 pixels, which is grey here).
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
    context = model.segmenter.get_layer("context_pyramid")
    context.set_weights(backbone.get_weights())
    mean, deviation = IMAGENET
    convolution, norm = context.get_layer("conv1_conv"), context.get_layer("conv1_bn")
    kernel = convolution.kernel.numpy() / deviation[:, None]
    norm.moving_mean.assign(norm.moving_mean.numpy() - np.einsum("hwcf,c->f", kernel, 0.5 - mean))
    convolution.kernel.assign(0.5 * kernel)
