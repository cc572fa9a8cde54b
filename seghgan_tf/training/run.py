"""Train a SegHGAN in a work folder that the same call resumes: strategy, optimizers, data, stages."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from seghgan_tf import doctor
from seghgan_tf.config import Config, ModelConfig
from seghgan_tf.data.select import expression_source, mask_source
from seghgan_tf.data.stream import Batching, load_streams
from seghgan_tf.machine import cores, free_memory, keep_freed_memory
from seghgan_tf.model import SegHGAN, role_optimizer
from seghgan_tf.model.optimizer import ROLES, Adam
from seghgan_tf.model.seghgan import Stage
from seghgan_tf.progress import Move
from seghgan_tf.training import cluster, pretrained, workdir
from seghgan_tf.training.recorder import Recorder
from seghgan_tf.training.schedule import LateFall

LARGE = 4e9
"""Pixels of a run that are too many for a CPU: `drawn-64`, of narrower networks, has 1.6e8 and takes an hour on two cores."""


class TrainingStopped(RuntimeError):  # noqa: N818
    """Training ended before its last step; the message says why and how to go on, `exit_status` what a shell sees."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def choose_strategy() -> tf.distribute.Strategy:
    """Return MultiWorkerMirrored where the environment names a cluster, Mirrored on several GPUs, else the default.

    Sets the process up for training too: memory that batches free is kept for the next ones; GPUs give memory as it is asked for, so
    that a second process finds some; without one, graphs run as they are traced: to rewrite them first takes longer than the step is
    the faster for it.
    """
    keep_freed_memory()
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not gpus})
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if cluster.announce():
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def device(config: Config) -> str:
    """Say what a run trains on here, and warn where that is no match for it."""
    if names := doctor.gpus():
        return f"trains on {', '.join(names)}"
    pixels = config.training.steps * config.training.batch_size * config.model.image_size**2
    warning = "\nwarning: without a GPU this run takes days at least; `seghgan doctor` says what is missing"
    return f"trains on the CPU, {cores()} cores{warning if pixels > LARGE else ''}"


def make_optimizer(config: Config) -> keras.optimizers.MultiOptimizer:
    """Return Adam for generators and critics (falling linearly over the last half) and for the segmenter."""
    training, schedules = config.training, keras.optimizers.schedules
    steps, rate = max(training.steps - config.model.segmenter_steps, 1), training.learning_rate
    first = training.segmenter_learning_rate
    falling = {
        "cosine": schedules.CosineDecay(first, training.steps, alpha=0.01),
        "poly": schedules.PolynomialDecay(first, training.steps, end_learning_rate=0.0, power=0.9),
    }
    return role_optimizer(
        Adam(LateFall(rate, steps), 0.5, 0.999),
        Adam(LateFall(rate, steps * config.model.critic_steps), 0.5, 0.999),
        Adam(falling[training.segmenter_schedule]),
    )


def build(config: Config) -> SegHGAN:
    """Build and compile the model of `config`, optimizer moments included; call it inside a strategy's scope."""
    keras.utils.set_random_seed(config.model.seed)
    model = SegHGAN(config.model)
    if config.training.resnet_weights is not None:
        pretrained.load_context_path(model, config.training.resnet_weights)
    _compile(model, config)
    return model


def _compile(model: SegHGAN, config: Config) -> None:
    optimizer = make_optimizer(config)
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)


def resume(config: Config, folder: Path, report: Callable[[str], None] = print) -> SegHGAN | None:
    """Load the run's newest whole checkpoint, with its moments under the schedules of `config`; None for a new run."""
    model = workdir.load_newest(folder, report)
    if model is None:
        return None
    moments = [variable.numpy() for variable in model.optimizer.variables]
    _compile(model, config)
    for variable, value in zip(model.optimizer.variables, moments, strict=True):
        variable.assign(value)
    return model


def streams(
    config: Config,
    split: str,
    start: int = 0,
    input_context: tf.distribute.InputContext | None = None,
    people: bool = False,
) -> dict[str, tf.data.Dataset]:
    """Return the batches of `split` by stream, "expression" and "segmentation": endless and augmented for "train", else in order.

    Those of "train" are what an uninterrupted run would see from step `start` on. A run that trains the segmenter alone has no
    expressions where it names no folder of them. With an `input_context`, a worker's share; with `people`, who is in each image.
    """
    training = split == "train"
    settings, model = config.data, config.model
    how = Batching(
        image_size=model.image_size * (settings.photo_scale if training else 1),
        batch_size=config.training.batch_size,
        training=training,
        seed=model.seed,
        start=start,
        augment=settings.augment,
        balanced=settings.balanced,
        cache=settings.cache is True,
        deterministic=True,
        workers=settings.workers,
        input_context=input_context,
        people=people,
    )
    critic_steps = model.critic_steps if training else 1
    return load_streams(settings.expression, settings.segmentation, split, model.space, how, critic_steps)


def with_cache_chosen(config: Config, before: Config | None = None, report: Callable[[str], None] = print) -> Config:
    """Replace `data.cache = "auto"`: by what the run had `before`, for kept images come in another order than those that are read anew.

    In a new run they are kept where they take at most a third of the memory that is free.
    """
    had = "auto" if before is None else before.data.cache
    if config.data.cache != "auto":
        if had not in ("auto", config.data.cache):
            report(
                f"warning: data.cache is {config.data.cache} and was {had}: from here on the photos come in another order"
            )
        return config
    size, free = _decoded_size(config), free_memory()
    chosen = (free is not None and size <= free / 3) if had == "auto" else had
    known = "of an unknown size" if free is None else f"of {free / 2**30:.1f} GiB"
    report(
        f"decoded images take up to {size / 2**30:.1f} GiB of a free memory {known}: "
        f"{'kept in memory' if chosen else 'read and decoded anew'}"
        f"{'' if had == 'auto' else ', as this run began'} (data.cache = {str(not chosen).lower()} for the other)"
    )
    return config.model_copy(update={"data": config.data.model_copy(update={"cache": chosen})})


def _decoded_size(config: Config) -> float:
    """Return the bytes of all training images as uint8, and of the validation batches as float32, masks and true targets included."""
    data, model, training = config.data, config.model, config.training
    size, seen = 0.0, training.validation_batches * training.batch_size
    for split, side, most, width in (
        ("train", model.image_size * data.photo_scale, math.inf, 1),
        ("validation", model.image_size, seen, 4),
    ):
        masks = mask_source(data.segmentation or data.expression, split).examples
        size += width * (3 + 1) * side**2 * min(masks, most)
        if data.expression:
            faces = expression_source(data.expression, split, model.space).examples
            size += width * 2 * 3 * side**2 * min(faces, most)
    return size


def distributed_streams(config: Config, strategy: tf.distribute.Strategy, start: int) -> tuple[Any, Any]:
    """Return what `fit` takes: training batches, each worker of a cluster reading its share, and validation batches.

    Every worker validates on the same examples, so that all take equally many steps.
    """

    def training(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return tf.data.Dataset.zip(streams(config, "train", start, context))

    def validation(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        whole = context and tf.distribute.InputContext(num_replicas_in_sync=context.num_replicas_in_sync)
        batches = tf.data.Dataset.zip(streams(config, "validation", input_context=whole))
        batches = batches.take(config.training.validation_batches)
        return batches.cache() if config.data.cache is True else batches

    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return tuple(map(strategy.distribute_datasets_from_function, (training, validation)))
    return training(), validation()


def stages(config: Config) -> tuple[tuple[Stage, int], ...]:
    """Return the stages of a run in order, each with the step it ends at.

    >>> from seghgan_tf.config import read_config
    >>> stages(read_config("drawn-64", ("training.steps=5000", "model.segmenter_steps=600", "model.paired_steps=0")))
    (('segmenter', 600), ('paired', 600), ('joint', 5000))
    """
    model, total = config.model, config.training.steps
    first = min(model.segmenter_steps, total)
    return ("segmenter", first), ("paired", min(first + model.paired_steps, total)), ("joint", total)


def train(
    config: Config,
    folder: Path,
    *,
    start: Callable[[SegHGAN], None] | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    report: Callable[[str], None] = print,
    move: Move = lambda done, total, told="": None,
) -> SegHGAN:
    """Train in `folder` until `config.training.steps`; the same call goes on where a run was cut.

    `start` may fill a new model with weights; `report` gets lines, `move` how far it is. Raises TrainingStopped on NaN or a signal, with the last good state kept,
    RuntimeError where another process trains there.
    """
    strategy = choose_strategy()
    chief = cluster.is_chief(strategy)
    with workdir.locked(folder, chief):
        before = workdir.check_config(config, folder)
        config = with_cache_chosen(config, before, report)
        if chief:
            workdir.write_config(config, folder)
        keras.utils.set_random_seed(config.model.seed)  # the order of the data comes from it too
        with strategy.scope():
            model = resume(config, folder, report)
            if model is None:
                model = build(config)
                if start is not None:
                    start(model)
            if model.steps_done >= config.training.steps:
                report(f"{folder} is at step {model.steps_done} of {config.training.steps}: nothing left to train")
                return model
            recorder = Recorder(folder, _sample(config), report, move, config.training)
        recorder.open(model)
        try:
            _fit(model, config, strategy, recorder, callbacks)
        finally:
            recorder.close()
    if recorder.stopped:
        raise TrainingStopped(recorder.stopped, 128 + recorder.signal if recorder.signal else 1)
    return model


def _sample(config: Config) -> dict[str, Any]:
    """Return six faces of the validation split with the expressions they are asked for, to be drawn as the run goes."""
    found = streams(config, "validation")
    batch = next(iter(found.get("expression", found["segmentation"])))
    seen = batch.get("expression", tf.zeros((len(batch["image"]), config.model.space.size)))
    wanted = batch.get("target_expression", tf.roll(seen, 1, 0))
    return {"image": batch["image"][:6], "expression": wanted[:6]}


def _fit(model: SegHGAN, config: Config, strategy: Any, recorder: Recorder, callbacks: tuple[Any, ...]) -> None:
    """Train the stages that are left, one `fit` each; where an interval was cut, one before it that ends the interval."""
    every, begin = config.training.evaluate_every, 0
    for stage, end in stages(config):
        if model.steps_done < end and not recorder.stopped:
            model.begin(stage)
            recorder.end, left = end, end - model.steps_done
            cut = min((begin - model.steps_done) % every, left)
            for steps, epochs in ((cut, 1), (every, math.ceil((left - cut) / every))):
                if steps and epochs:
                    batches, validation = distributed_streams(config, strategy, start=model.steps_done)
                    model.fit(
                        batches,
                        steps_per_epoch=steps,
                        epochs=epochs,
                        shuffle=False,
                        verbose=0,
                        validation_data=validation,
                        callbacks=[recorder, *callbacks],
                    )
                    if model.stop_training:
                        break
        begin = end


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Return the trainable parameters of each role."""
    model = SegHGAN(config)
    return {role: sum(math.prod(v.shape) for v in model.role_variables(role)) for role in ROLES}
