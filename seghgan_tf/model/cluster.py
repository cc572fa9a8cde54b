"""What a `keras.Model` needs to be fitted on several workers, where Keras's own `fit` fails (keras issue 20585)."""

from typing import Any

import keras
import tensorflow as tf


class ClusterFit(keras.Model):
    """Mix-in for models whose variables all exist since `__init__`.

    Under MultiWorkerMirroredStrategy Keras averages a step's results over the workers along axis 0, which scalars lack, and
    its symbolic build cannot read the batches of a distributed dataset.
    """

    def results(self) -> dict[str, tf.Tensor]:
        """Return every metric's value by name, as the steps must: () elsewhere, (1,) in a cluster."""
        cluster = isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)
        values = {metric.name: metric.result() for metric in self.metrics}
        return {name: tf.reshape(value, (1,)) for name, value in values.items()} if cluster else values

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Build nothing: every variable is there."""
