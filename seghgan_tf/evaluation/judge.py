"""An independent judge of expressions: a small recogniser that is trained on real photos alone and never sees an edit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seghgan_tf.config import Config
from seghgan_tf.data.stream import Batching, load_expression_stream
from seghgan_tf.evaluation.intervals import Rows, mean
from seghgan_tf.evaluation.networks import JUDGE_FILE, Signature
from seghgan_tf.expressions import ExpressionSpace
from seghgan_tf.model.critic import critic

LOOKS = 20
"""How often a judge is compared on the validation split; the best is kept."""
PATIENCE = 5


def train_judge(
    config: Config, output: Path, steps: int, width: int, seed: int, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train a judge on the photos of a run's training split, and write it as a SavedModel with its own held-out error beside it.

    Returns the facts of `judge.json`: `error` is the mean absolute error on the test split in the user's units, `guess` that of always
    saying the training photos' mean. Raises ValueError where `output` exists or the run has no expressions.
    """
    if output.exists():
        raise ValueError(
            f"`output` must be a new folder, because a judge is not changed once it has judged. Received: {output}"
        )
    if not config.data.expression:
        raise ValueError("`workdir` must be a run with expressions. Received: one that trains the segmenter alone")
    keras.utils.set_random_seed(seed)
    space, size = config.model.space, config.model.image_size
    trained = _pairs(config, "train", seed)
    trunk = critic(size, size, space.size, width, "trunk")
    judge = keras.Model(trunk.input, trunk.output["expression"], name="judge")
    loss: Any = keras.losses.CategoricalCrossentropy(from_logits=True) if space.one_hot else "mean_squared_error"
    judge.compile(optimizer=keras.optimizers.Adam(3e-4), loss=loss, jit_compile=False)
    judge.fit(
        trained,
        steps_per_epoch=-(-steps // LOOKS),
        epochs=LOOKS,
        shuffle=False,
        verbose=0,
        validation_data=_pairs(config, "validation", seed),
        callbacks=[
            keras.callbacks.EarlyStopping("val_loss", patience=PATIENCE, restore_best_weights=True),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: report(
                    f"look {epoch + 1} of {LOOKS}: loss {logs['loss']:.4f}, on validation {logs['val_loss']:.4f}"
                )
            ),
        ],
    )
    _write(judge, size, space, output)
    usual = np.mean([expression.numpy().mean(0) for _, expression in trained.take(LOOKS)], 0)
    found = _errors(Signature(output), config, usual)
    facts = {"labels": list(space.labels), "image_size": size, "width": width, "steps": steps, "seed": seed, **found}
    (output / JUDGE_FILE).write_text(json.dumps(facts, indent=2) + "\n")
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


def _pairs(config: Config, split: str, seed: int) -> tf.data.Dataset:
    return _stream(config, split, seed).map(lambda batch: (batch["image"], batch["expression"]))


def _write(judge: keras.Model, size: int, space: ExpressionSpace, output: Path) -> None:
    def see(image: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = judge(image)
        return {"expression": tf.nn.softmax(seen) if space.one_hot else tf.clip_by_value(seen, space.low, space.high)}

    archive = keras.export.ExportArchive()
    archive.track(judge)
    signature = [tf.TensorSpec((None, size, size, 3), tf.float32, name="image")]
    archive.add_endpoint("serving_default", see, input_signature=signature)
    archive.write_out(str(output), verbose=False)


def _errors(judge: Signature, config: Config, usual: Any) -> dict[str, Any]:
    """Return what a judge errs by on the test split, on how many photos and people, and what the usual answer would."""
    errors, guesses, hits = Rows(), Rows(), Rows()
    for batch in _stream(config, "test", 0):
        truth, seen = np.asarray(batch["expression"]), judge(batch["image"])
        errors.add(batch, config.model.space.scale * np.abs(seen - truth).mean(-1))
        guesses.add(batch, config.model.space.scale * np.abs(usual - truth).mean(-1))
        hits.add(batch, seen.argmax(-1) == truth.argmax(-1))
    found = {"error": errors.figure(mean), "interval": errors.interval(mean), "guess": guesses.figure(mean)}
    found |= {"images": errors.images, "people": errors.people}
    return found | ({"accuracy": hits.figure(mean)} if config.model.space.one_hot else {})
