"""Train a SegHGAN in a work folder that the same call resumes: strategy, optimizers, data, checkpoints."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from seghgan_tf.config import Config, ModelConfig
from seghgan_tf.data.stream import Batching, load_streams
from seghgan_tf.model import SegHGAN, role_optimizer
from seghgan_tf.model.seghgan import Stage
from seghgan_tf.training import cluster
from seghgan_tf.training.recorder import CHECKPOINT, Recorder

CONFIG_FILE = "config.json"


class TrainingStopped(RuntimeError):  # noqa: N818
    """Training ended before its last step; the message says why and how to go on, `exit_status` what a shell sees."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def choose_strategy() -> tf.distribute.Strategy:
    """Return MultiWorkerMirrored where the environment names a cluster, Mirrored on several GPUs, else the default."""
    if cluster.announce():
        return tf.distribute.MultiWorkerMirroredStrategy()
    return (
        tf.distribute.MirroredStrategy()
        if len(tf.config.list_physical_devices("GPU")) > 1
        else tf.distribute.get_strategy()
    )


def make_optimizer(config: Config) -> keras.optimizers.MultiOptimizer:
    """Return Adam for generators and critics (falling linearly over the last half) and for the segmenter (cosine)."""
    training, schedules = config.training, keras.optimizers.schedules
    steps, rate = training.steps - config.model.segmenter_steps, training.learning_rate

    def adversarial(updates: int) -> keras.optimizers.Adam:
        bounds = [int(updates * (0.5 + 0.05 * i)) for i in range(10)]
        rates = [rate * (1 - 0.09 * i) for i in range(11)]
        return keras.optimizers.Adam(schedules.PiecewiseConstantDecay(bounds, rates), 0.5, 0.999)

    cosine = schedules.CosineDecay(training.segmenter_learning_rate, training.steps, alpha=0.01)
    return role_optimizer(
        adversarial(max(steps, 20)),
        adversarial(max(steps, 20) * config.model.critic_steps),
        keras.optimizers.Adam(cosine),
    )


def build(config: Config) -> SegHGAN:
    """Build and compile the model of `config`, optimizer moments included; call it inside a strategy's scope."""
    keras.utils.set_random_seed(config.model.seed)
    model = SegHGAN(config.model)
    if config.training.resnet_weights is not None:
        load_context_path(model, config.training.resnet_weights)
    optimizer = make_optimizer(config)
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


def load_context_path(model: SegHGAN, preset: Path) -> None:
    """Load ResNet-18 weights from a keras-hub preset folder into BiSeNet's context path.

    Raises ValueError for a U-Net, another width, or a folder without a preset.
    """
    if model.config.segmenter != "bisenet" or model.config.segmenter_width != 64:
        raise ValueError(
            "`resnet_weights` must go with segmenter = bisenet and segmenter_width = 64, which is ResNet-18. Received: another segmenter"
        )
    if not (preset / "config.json").is_file():
        raise ValueError(f"`resnet_weights` must be a keras-hub preset folder with a config.json. Received: {preset}")
    from keras_hub.models import Backbone

    pretrained = Backbone.from_preset(str(preset))
    model.segmenter.get_layer("context_pyramid").set_weights(pretrained.get_weights())


def load_model(path: Path) -> SegHGAN:
    """Load a checkpoint (`.keras`), optimizer moments included.

    Raises ValueError where there is none.
    """
    if not Path(path).is_file():
        raise ValueError(f"`workdir` must hold {CHECKPOINT}, which `seghgan train` writes. Received: {path}")
    return keras.saving.load_model(path)


def prepare_workdir(config: Config, workdir: Path, chief: bool = True) -> None:
    """Create the work folder and, as the chief, write the configuration into it.

    Raises ValueError where a run with another model or other data lives there: resuming would mix the two.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path, values = workdir / CONFIG_FILE, config.model_dump(mode="json")
    if path.is_file() and (workdir / CHECKPOINT).is_file():
        before = json.loads(path.read_text())
        settings = [
            (part, key)
            for part in ("model", "data")
            for key in values[part]
            if before[part].get(key) != values[part][key]
        ]
        if settings:
            part, key = settings[0]
            raise ValueError(
                f"`workdir` must be a new folder, because the run in {workdir} has {part}.{key} = {before[part].get(key)}. "
                f"Received: {part}.{key} = {values[part][key]}"
            )
    if chief:
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(values, indent=2) + "\n")
        aside.replace(path)  # at once, as other workers may be reading it


def read_run(workdir: Path) -> Config:
    """Read the configuration of the run in `workdir`. Raises ValueError where there is none."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"`workdir` must be a folder of `seghgan train`, with a {CONFIG_FILE}. Received: {workdir}")
    return Config.model_validate_json(path.read_text())


def streams(
    config: Config, split: str, seed: int = 0, input_context: tf.distribute.InputContext | None = None
) -> tf.data.Dataset:
    """Return the two-stream batches of `split`, augmented and endless for "train", in order otherwise.

    With an `input_context`, a worker's share of them.
    """
    training = split == "train"
    settings, model = config.data, config.model
    how = Batching(
        image_size=model.image_size * (settings.photo_scale if training else 1), batch_size=config.training.batch_size, training=training, seed=model.seed + seed,
        augment=settings.augment, balanced=settings.balanced, cache=settings.cache, workers=settings.workers,
        input_context=input_context,
    )  # fmt: skip
    critic_steps = model.critic_steps if training else 1
    return load_streams(settings.expression, settings.segmentation, split, model.space, how, critic_steps)


def distributed_streams(config: Config, strategy: tf.distribute.Strategy, seed: int) -> tuple[Any, Any]:
    """Return what `fit` takes: training batches, each worker of a cluster reading its share, and validation batches.

    Every worker validates on the same examples, so that all take equally many steps.
    """

    def training(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return streams(config, "train", seed, context)

    def validation(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        whole = context and tf.distribute.InputContext(num_replicas_in_sync=context.num_replicas_in_sync)
        batches = streams(config, "validation", input_context=whole).take(config.training.validation_batches)
        return batches.cache() if config.data.cache else batches

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
    workdir: Path,
    *,
    start: Callable[[SegHGAN], None] | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    report: Callable[[str], None] = print,
) -> SegHGAN:
    """Train in `workdir` until `config.training.steps`; the same call goes on where a run was cut.

    `start` may fill a new model with weights. Raises TrainingStopped on NaN or a signal, with the last good state kept.
    """
    strategy = choose_strategy()
    prepare_workdir(config, workdir, cluster.is_chief(strategy))
    checkpoint = workdir / CHECKPOINT
    with strategy.scope():
        if checkpoint.is_file():
            model = load_model(checkpoint)
        else:
            model = build(config)
            if start is not None:
                start(model)
    done, total, every = model.steps_done, config.training.steps, config.training.evaluate_every
    if done >= total:
        report(f"{checkpoint} is at step {done} of {total}: nothing left to train")
        return model
    batch = next(iter(streams(config, "validation")))["expression"]
    wanted = batch.get("target_expression", tf.roll(batch["expression"], 1, 0))
    with strategy.scope():
        recorder = Recorder(workdir, total, {"image": batch["image"][:6], "expression": wanted[:6]}, report)
    batches, validation = distributed_streams(config, strategy, seed=done)
    for stage, end in stages(config):
        if model.steps_done < end and not recorder.stopped:
            model.begin(stage)
            recorder.end = end
            model.fit(
                batches,
                steps_per_epoch=every,
                epochs=math.ceil((end - model.steps_done) / every),
                shuffle=False,
                verbose=0,
                validation_data=validation,
                callbacks=[recorder, *callbacks],
            )
    if recorder.stopped:
        raise TrainingStopped(recorder.stopped, 128 + recorder.signal if recorder.signal else 1)
    return model


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Return the trainable parameters of each role."""
    model = SegHGAN(config)
    return {
        role: sum(math.prod(v.shape) for v in model.role_variables(role))
        for role in ("segmenter", "generator", "critic")
    }
