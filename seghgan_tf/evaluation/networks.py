"""Networks that others trained and that judge a model's edits: a SavedModel as a function, its digest, and what it must return."""

import hashlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from seghgan_tf.expressions import ExpressionSpace
from seghgan_tf.files import sha256

JUDGE_FILE = "judge.json"
"""What `seghgan train-judge` writes beside a judge: its labels, its own error, how it was trained."""


class Signature:
    """A SavedModel's `serving_default` of one image input (B, S, S, 3) in [-1, 1] and one output (B, D), as a function.

    `digest` is the SHA-256 of what `sha256sum` says of its files in the order of their names. Raises ValueError where the folder's model has
    another signature.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.model = tf.saved_model.load(str(folder))
        self.call = self.model.signatures.get("serving_default")
        inputs = self.call.structured_input_signature[1] if self.call is not None else {}
        if len(inputs) != 1 or len(self.call.structured_outputs) != 1:
            raise ValueError(
                f"`{folder}` must be a SavedModel whose serving_default takes one image and returns one vector. Received: another"
            )
        ((self.name, spec),) = inputs.items()
        self.size = spec.shape[1]
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        lines = "".join(f"{sha256(path)}  {path.relative_to(self.folder).as_posix()}\n" for path in files)
        self.digest = hashlib.sha256(lines.encode()).hexdigest()

    def __call__(self, image: tf.Tensor) -> NDArray[np.float32]:
        """Return the vectors (B, D) of images (B, S, S, 3), resized to the model's size."""
        resized = image if self.size is None else tf.image.resize(image, (self.size, self.size), antialias=True)
        (output,) = self.call(**{self.name: tf.cast(resized, tf.float32)}).values()
        return np.asarray(output)


def check_judge(judge: Signature, space: ExpressionSpace, size: int) -> None:
    """Raise ValueError for a judge that does not see a space: other labels in its `judge.json`, or other than one number a label."""
    file = judge.folder / JUDGE_FILE
    labels = json.loads(file.read_text())["labels"] if file.is_file() else list(space.labels)
    seen = judge(tf.zeros((2, size, size, 3))).shape
    if labels != list(space.labels) or seen != (2, space.size):
        told = f"{', '.join(labels)} in {file}" if labels != list(space.labels) else f"{seen} of two images"
        raise ValueError(
            f"`judge` must see the run's labels, {', '.join(space.labels)}, one number each; train one with `seghgan train-judge`. "
            f"Received: {told}"
        )
