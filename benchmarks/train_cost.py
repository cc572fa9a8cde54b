"""What training a preset costs on a GPU, calculated: multiply-adds of its layers times how often a step runs each, no GPU needed."""

import argparse
import json
import math
from typing import Any, NamedTuple

import keras

from seghgan_tf.config import read_config
from seghgan_tf.model import SegHGAN, layers
from seghgan_tf.training import run as training

GPUS = {
    "T4": (16, 8.1, None),
    "RTX 3090": (24, 35.6, 71),
    "RTX 4090": (24, 82.6, 165),
    "A100": (80, 19.5, 312),
    "H100": (80, 67, 989),
}
"""Gigabytes, and the makers' dense peaks in TFLOPS: float32, and bfloat16 with float32 sums."""
USED = (0.30, 0.10)
"""The share of each peak that is assumed to be used; narrow layers fill few tensor cores. Assumed, not measured."""


class Pass(NamedTuple):
    """One image's way through a network: floating-point operations, and bytes of the float32 outputs that the way back needs."""

    flop: float
    kept: float

    @classmethod
    def through(cls, *networks: keras.Model) -> "Pass":
        """Count convolutions, our own among them, and dense layers (two operations a multiply-add), and every layer's output.

        Raises TypeError for a layer with a kernel that it cannot count.
        """
        flop = kept = 0.0
        for layer in (one for network in networks for one in network.layers):
            if isinstance(layer, keras.Model):
                inner = cls.through(layer)
                flop, kept = flop + inner.flop, kept + inner.kept
            elif not isinstance(layer, keras.layers.InputLayer):
                kept += 4 * math.prod(layer.output.shape[1:])
                if hasattr(layer, "kernel"):
                    flop += 2 * _products(layer) * math.prod(layer.output.shape[1:-1])
        return cls(flop, kept)


def _products(layer: keras.layers.Layer) -> int:
    """Return the multiply-adds of a place of a layer's output."""
    if isinstance(layer, layers.Conv2D):
        coarse, fine = (image.shape[-1] for image in layer.input)
        return layer.filters * (4 * coarse + 9 * fine)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    raise TypeError(f"`layer` must be a convolution or dense, because others are not counted. Received: {layer}")


def cost(preset: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return TFLOP a step of each stage and of the whole run, and its memory in GB; a way back costs two ways there.

    Per image of the batch, S the segmenter, G the generators, D the critics: 3 S for the segmentation; in a joint step besides, for each slice of the
    critics S + G + 12 D (real, edited and mixed images, the penalty's second derivative), and for the generators 2 S + 5 G + 3 D.
    """
    config = read_config(preset, overrides)
    model, batch, turns = SegHGAN(config.model), config.training.batch_size, config.model.critic_steps
    segment = Pass.through(model.segmenter)
    generate = Pass.through(model.generator, *model.local_generators.values())
    judge = Pass.through(model.critic, *model.local_critics.values())
    s, g, d = segment.flop, generate.flop, judge.flop
    step = {"segmenter": 3 * s, "joint": 5 * s + turns * (s + g + 12 * d) + 5 * g + 3 * d}
    kept = {"segmenter": segment.kept, "joint": segment.kept + 2 * generate.kept + 7 * judge.kept}
    stages, begin = {}, 0
    for stage, end in training.stages(config):
        if end > begin:
            stages[stage] = {"steps": end - begin, "tflop": batch * step[stage] / 1e12}
            begin = end
    trained = sum(math.prod(v.shape) for v in model.trainable_variables)
    weights = 4 * (3 * trained + sum(math.prod(v.shape) for v in model.averages))
    return {
        "stages": {name: {**one, "tflop": round(one["tflop"], 3)} for name, one in stages.items()},
        "batch": batch,
        "pflop": round(sum(one["steps"] * one["tflop"] for one in stages.values()) / 1e3),
        "weights_and_moments_gb": round(weights / 1e9, 2),
        "outputs_gb": round(batch * max(kept[stage] for stage in stages) / 1e9, 1),
    }


def text(found: dict[str, Any]) -> tuple[str, str, str]:
    """Return what a page says of a cost: operations, memory, and the rows of hours by GPU."""
    first, *later = (stage["tflop"] for stage in found["stages"].values())
    own = " of the segmenter's own stage" if later else ""
    steps = ", ".join([f"{first:.2f} TFLOP a step{own}", *(f"{each:.2f} a joint step" for each in later)])
    rows = ["| GPU | memory | float32 | bfloat16 |", "|---|---|---|---|"]
    for name, (memory, *peaks) in GPUS.items():
        hours = [
            f"{found['pflop'] * 1e3 / (peak * used) / 3600:.1f} h" if peak else ""
            for peak, used in zip(peaks, USED, strict=True)
        ]
        rows.append(f"| {name} | {memory} GB | {' | '.join(hours)} |")
    return (
        f"{steps}, {found['pflop']} PFLOP in all",
        f"{found['outputs_gb']} GB of layers' outputs at batch {found['batch']}",
        "\n".join(rows),
    )


def main() -> None:
    """Print each preset's cost as JSON, and as its page says it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C")
    given = parser.parse_args()
    for preset in given.preset:
        found = cost(preset, tuple(given.set))
        print(json.dumps({"preset": preset, **found}), *text(found), sep="\n", flush=True)


if __name__ == "__main__":
    main()
