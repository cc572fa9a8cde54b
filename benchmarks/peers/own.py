"""Our side of benchmarks/peers/run.py: TensorFlow on one thread, every network as `fit` and the exports run it."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf
from turns import Step, take_turns

from seghgan_tf.config import read_config
from seghgan_tf.model import SegHGAN
from seghgan_tf.model.seghgan import Stage
from seghgan_tf.training import run as training


def faces(size: int, batch: int) -> dict[str, tf.Tensor]:
    """Return random images and expressions, seed 0."""
    image = tf.random.stateless_uniform((batch, size, size, 3), (0, 0), -1.0, 1.0)
    expression = tf.random.stateless_uniform((batch, 17), (0, 1))
    return {"image": image, "expression": expression}


def edit(batch: int) -> Step:
    """The whole edit of photos of 128 px: segment, generate, fuse, warp."""
    model, inputs = SegHGAN(read_config("faces-128").model), faces(128, batch)
    run = tf.function(lambda inputs: model(inputs)["edited"])
    return lambda: run(inputs).numpy()


def segment(size: int) -> Step:
    """BiSeNet's segmentation of one image, the first head of `segmenter`."""
    model = SegHGAN(read_config("celebamask-512", (f"model.image_size={size}",)).model)
    image = faces(size, 1)["image"]
    run = tf.function(lambda image: model.segmenter(image, training=False)[0])
    return lambda: run(image).numpy()


def learn(preset: str, stage: Stage, batch: int, *settings: str) -> Step:
    """A whole `train_step` as `seghgan train` has it, metrics and running averages included."""
    training.choose_strategy()
    config = read_config(preset, settings)
    model, size = training.build(config), config.model.image_size
    model.begin(stage)
    mask = tf.random.stateless_uniform((batch, size, size), (0, 2), 0, 19, tf.int32)
    face = faces(size, batch)
    asked = tf.roll(face["expression"], 1, 0)
    target = {"target_image": face["image"][..., ::-1], "target_expression": asked}
    data = {"expression": face | target, "segmentation": {"image": face["image"], "mask": mask}}
    run = tf.function(lambda data: model.train_step(data))
    return lambda: run(data)


WORKS: dict[str, Callable[[], Step]] = {
    "edit-1": partial(edit, 1),
    "edit-8": partial(edit, 8),
    "segment-512": partial(segment, 512),
    "segment-256": partial(segment, 256),
    "learn-segmenting": partial(learn, "celebamask-512", "segmenter", 4, "model.image_size=256"),
    "learn-editing": partial(learn, "drawn-64", "joint", 16),
}


def one_thread() -> None:
    """Let TensorFlow use one thread."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    one_thread()
    take_turns(WORKS, lambda: {"tensorflow": tf.__version__})
