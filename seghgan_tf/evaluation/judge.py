"""An independent judge of expressions: a small recogniser that is trained on real photos alone and never sees an edit."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seghgan_tf.config import Config
from seghgan_tf.data.augment import augment
from seghgan_tf.data.folder import new_folder
from seghgan_tf.data.stream import Batching, load_expression_stream
from seghgan_tf.evaluation.intervals import Rows, mean
from seghgan_tf.evaluation.networks import JUDGE_FILE, Signature
from seghgan_tf.expressions import ExpressionSpace
from seghgan_tf.model.critic import critic

LOOKS = 20
"""How often a judge is compared on the validation split; the best is kept."""
PATIENCE = 5
HELD_OUT = ("test", "validation")
"""Splits that its error may be measured on; the best of its looks is chosen on the second."""


def train_judge(
    config: Config,
    output: Path,
    steps: int,
    width: int,
    seed: int,
    report: Callable[[str], None] = print,
    split: str = "test",
) -> dict[str, Any]:
    """Train a judge on the photos of a run's training split, and write it as a SavedModel with its own held-out error beside it.

    Returns the facts of `judge.json`: `error` is the mean absolute error on `split` in the user's units, `guess` that of always
    saying the training photos' mean. `output` appears whole or not at all. Raises ValueError, before it trains, where `output` exists, the
    run has no expressions, or the data lack a split.
    """
    if split not in HELD_OUT:
        raise ValueError(
            f"`split` must be {' or '.join(HELD_OUT)} because a judge's error on photos that it was trained on says nothing. Received: {split}"
        )
    if output.exists():
        raise ValueError(
            f"`output` must be a new folder, because a judge is not changed once it has judged. Received: {output}"
        )
    if not config.data.expression:
        raise ValueError("`workdir` must be a run with expressions. Received: one that trains the segmenter alone")
    keras.utils.set_random_seed(seed)
    space, size = config.model.space, config.model.image_size
    trained, validation, held_out = (_stream(config, name, seed) for name in ("train", "validation", split))
    trunk = critic(size, size, space.size, width, "trunk")
    judge = keras.Model(trunk.input, trunk.output["expression"], name="judge")
    _fit(judge, space.one_hot, trained.map(_pair), validation.map(_pair), steps, report)
    usual = np.mean([batch["expression"].numpy().mean(0) for batch in trained.take(LOOKS)], 0)
    facts = {"labels": list(space.labels), "image_size": size, "width": width, "steps": steps, "seed": seed}
    with new_folder(output) as part:
        _write(judge, size, space, part)
        facts |= {"split": split, **_errors(Signature(part), held_out, space, usual)}
        (part / JUDGE_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def _stream(config: Config, split: str, seed: int) -> tf.data.Dataset:
    training = split == "train"
    how = Batching(
        image_size=config.model.image_size,
        batch_size=config.training.batch_size,
        training=training,
        seed=seed,
        augment=config.data.augment,
        balanced=config.data.balanced,
        deterministic=True,
        people=not training,
    )
    return load_expression_stream(config.data.expression, split, config.model.space, how)


def _pair(batch: Mapping[str, Any]) -> tuple[Any, Any]:
    seen = augment(batch)
    return seen["image"], seen["expression"]


def _fit(
    judge: keras.Model, one_hot: bool, trained: tf.data.Dataset, validation: tf.data.Dataset, steps: int,
    report: Callable[[str], None],
) -> None:  # fmt: skip
    """Train until it gets no better on the validation photos, and keep the best."""
    loss: Any = keras.losses.CategoricalCrossentropy(from_logits=True) if one_hot else "mean_squared_error"
    judge.compile(optimizer=keras.optimizers.Adam(3e-4), loss=loss, jit_compile=False)

    def tell(epoch: int, logs: Mapping[str, float]) -> None:
        report(f"look {epoch + 1} of {LOOKS}: loss {logs['loss']:.4f}, on validation {logs['val_loss']:.4f}")

    best = keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE, restore_best_weights=True)
    callbacks = [best, keras.callbacks.LambdaCallback(on_epoch_end=tell)]
    judge.fit(
        trained, steps_per_epoch=-(-steps // LOOKS), epochs=LOOKS, shuffle=False, verbose=0, validation_data=validation,
        callbacks=callbacks,
    )  # fmt: skip


def _write(judge: keras.Model, size: int, space: ExpressionSpace, output: Path) -> None:
    def see(image: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = judge(image)
        return {"expression": tf.nn.softmax(seen) if space.one_hot else tf.clip_by_value(seen, space.low, space.high)}

    archive = keras.export.ExportArchive()
    archive.track(judge)
    signature = [tf.TensorSpec((None, size, size, 3), tf.float32, name="image")]
    archive.add_endpoint("serving_default", see, input_signature=signature)
    archive.write_out(str(output), verbose=False)


def _errors(judge: Signature, stream: tf.data.Dataset, space: ExpressionSpace, usual: Any) -> dict[str, Any]:
    """Return what a judge errs by on a stream, on how many photos and people, and what the usual answer would."""
    errors, guesses, hits = Rows(), Rows(), Rows()
    for batch in stream:
        truth, seen = np.asarray(batch["expression"]), judge(batch["image"])
        errors.add(batch, space.scale * np.abs(seen - truth).mean(-1))
        guesses.add(batch, space.scale * np.abs(usual - truth).mean(-1))
        hits.add(batch, seen.argmax(-1) == truth.argmax(-1))
    found = {"error": errors.figure(mean), "interval": errors.interval(mean), "guess": guesses.figure(mean)}
    found |= {"images": errors.images, "people": errors.people}
    return found | ({"accuracy": hits.figure(mean)} if space.one_hot else {})
