"""Train a SegHGAN in a work folder: strategy, optimizers, checkpoints, resume, pictures for TensorBoard."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seghgan_tf import data
from seghgan_tf.augment import Augmentation
from seghgan_tf.config import Config, ModelConfig
from seghgan_tf.model import SegHGAN, role_optimizer
from seghgan_tf.pictures import color_mask, gray, grid, to_pixels

CHECKPOINT = "last.keras"
CONFIG_FILE = "config.json"
HISTORY_FILE = "history.jsonl"
VANISHED = 2e-4
"""A region whose mean probability falls under this share of the image is reported as vanishing."""


class TrainingStopped(RuntimeError):  # noqa: N818
    """Training ended before its last step; the message says why and how to go on, `exit_status` what a shell sees."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def choose_strategy() -> tf.distribute.Strategy:
    """Return MultiWorkerMirrored where TF_CONFIG names a cluster, Mirrored on several GPUs, else the default."""
    if "cluster" in json.loads(os.environ.get("TF_CONFIG") or "{}"):
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
    keras.config.set_dtype_policy(config.training.precision)
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


def save_model(model: SegHGAN, path: Path) -> None:
    """Write a checkpoint aside, then put it in place, so that a crash leaves the last one whole."""
    aside = path.with_name(f".{path.stem}.part.keras")
    model.save(aside)
    os.replace(aside, path)


def picture(model: SegHGAN, image: Any, expression: Any) -> np.ndarray:
    """Return rows of image, mask, attention, edit and reconstruction as one (H, W, 3) uint8 picture."""
    edit = model({"image": image, "expression": expression})
    back = model({"image": edit["edited"], "expression": model.analyze(image)})["edited"]
    labels = model.segment(image)["labels"]
    columns = [
        to_pixels(image),
        color_mask(labels),
        gray(edit["attention"]),
        to_pixels(edit["edited"]),
        to_pixels(back),
    ]
    return grid([list(row) for row in zip(*columns, strict=True)])


class Recorder(keras.callbacks.Callback):
    """Keeps the run's state: checkpoints, history, TensorBoard, and a plain stop on NaN or a signal."""

    def __init__(self, workdir: Path, total: int, sample: dict[str, Any], report: Callable[[str], None]) -> None:
        super().__init__()
        self.workdir, self.total, self.sample, self.report = workdir, total, sample, report
        self.stopped: str | None = None
        self.signal = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Open TensorBoard's file and listen for the signals that ask for an orderly end."""
        self.writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard"))
        self.began, self.step = time.monotonic(), self.model.steps_done
        self.previous = {}
        if os.environ.get("SEGHGAN_SIGNALS", "1") == "1":
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        self.signal = number

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop at the last step, on a signal, or on a loss that is no number any more."""
        self.step += 1
        if self.step >= self.total:
            self.model.stop_training = True
        if self.signal:
            self.stopped = f"received {signal.Signals(self.signal).name}; the same command goes on from step {self.model.steps_done}"
            save_model(self.model, self.workdir / CHECKPOINT)
            self.model.stop_training = True
        elif logs and not all(math.isfinite(float(value)) for value in logs.values()):
            wrong = ", ".join(name for name, value in logs.items() if not math.isfinite(float(value)))
            self.stopped = (
                f"{wrong} became NaN at step {self.model.steps_done}. {CHECKPOINT} is the last good state; "
                "try --set training.learning_rate= half of it, a larger batch, or a smaller model.losses.adversarial"
            )
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write checkpoint, history line, scalars and image grid."""
        if self.stopped:
            return
        step = self.model.steps_done
        values = {name: float(value) for name, value in (logs or {}).items()}
        save_model(self.model, self.workdir / CHECKPOINT)
        line = {"step": step, "seconds": round(time.monotonic() - self.began, 1), **values}
        with (self.workdir / HISTORY_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        with self.writer.as_default(step), self.model.averaged():
            for name, value in values.items():
                tf.summary.scalar(name, value)
            tf.summary.image("image, mask, attention, edit, reconstruction", picture(self.model, **self.sample)[None])
        self.writer.flush()
        for name in ("eyes", "nose", "mouth"):
            if values.get(f"area_{name}", 1.0) < VANISHED:
                self.report(
                    f"warning: the {name} mask is vanishing; lower model.segmenter_gradient_cap or train the segmenter longer"
                )

    def on_train_end(self, logs: Any = None) -> None:
        """Give the signals back."""
        self.writer.close()
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def prepare_workdir(config: Config, workdir: Path) -> None:
    """Create the work folder and write the configuration into it.

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
    path.write_text(json.dumps(values, indent=2) + "\n")


def read_run(workdir: Path) -> Config:
    """Read the configuration of the run in `workdir`. Raises ValueError where there is none."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"`workdir` must be a folder of `seghgan train`, with a {CONFIG_FILE}. Received: {workdir}")
    return Config.model_validate_json(path.read_text())


def streams(config: Config, split: str, seed: int = 0) -> tf.data.Dataset:
    """Return the two-stream batches of `split`, augmented and endless for "train", in order otherwise."""
    training = split == "train"
    settings, model = config.data, config.model
    return data.load_streams(
        settings.expression,
        settings.segmentation or settings.expression,
        split,
        space=model.space,
        image_size=model.image_size,
        batch_size=config.training.batch_size,
        critic_steps=model.critic_steps if training else 1,
        training=training,
        seed=model.seed + seed,
        augment=Augmentation(**settings.augment.model_dump()),
        cache=settings.cache,
        balanced=settings.balanced,
        workers=settings.workers,
    )


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
    prepare_workdir(config, workdir)
    checkpoint = workdir / CHECKPOINT
    with choose_strategy().scope():
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
    validation = streams(config, "validation").take(config.training.validation_batches)
    batch = next(iter(validation))["expression"]
    wanted = batch.get("target_expression", tf.roll(batch["expression"], 1, 0))
    recorder = Recorder(workdir, total, {"image": batch["image"][:6], "expression": wanted[:6]}, report)
    model.fit(
        streams(config, "train", seed=done),
        steps_per_epoch=every,
        epochs=math.ceil((total - done) / every),
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
