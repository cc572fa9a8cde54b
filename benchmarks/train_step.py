"""Time from `fit` to the first finished joint step, and seconds a step after it, for a preset."""

import argparse
import json
import statistics
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seghgan_tf.config import read_config
from seghgan_tf.training import run as training


class Times(keras.callbacks.Callback):
    """Keeps when each step ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the end of a step."""
        self.ends.append(time.perf_counter())


def main() -> None:
    """Run one epoch on random images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="drawn-64")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    config = read_config(given.preset, ("model.segmenter_steps=0",))
    model, size, batch = training.build(config), config.model.image_size, config.training.batch_size
    rng, faces = np.random.default_rng(0), batch * config.model.critic_steps
    image = rng.uniform(-1, 1, (faces, size, size, 3)).astype("float32")
    expression = rng.uniform(0, 1, (faces, config.model.space.size)).astype("float32")
    mask = rng.integers(0, 19, (batch, size, size)).astype("int32")
    data = tf.data.Dataset.from_tensors(
        {
            "expression": {
                "image": image,
                "expression": expression,
                "target_image": image,
                "target_expression": expression,
            },
            "segmentation": {"image": image[:batch], "mask": mask},
        }
    ).repeat()
    times = Times()
    model.fit(data, steps_per_epoch=given.steps, shuffle=False, verbose=0, callbacks=[times])
    steps = np.diff(times.ends)
    print(
        json.dumps(
            {
                "preset": given.preset,
                "first_step_seconds": round(times.ends[0] - times.began, 1),
                "median_step_seconds": round(statistics.median(steps), 3),
                "batch": batch,
            }
        )
    )


if __name__ == "__main__":
    main()
