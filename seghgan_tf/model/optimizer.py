"""Optimisation of three roles at once: one optimizer each, gradients over replicas, and the cap on the segmenter's."""

from typing import Any

import keras
import tensorflow as tf

ROLES = ("segmenter", "generator", "critic")


@keras.saving.register_keras_serializable("seghgan")
class Adam(keras.optimizers.Adam):
    """Keras's Adam (Kingma and Ba 2015, algorithm 1), each variable updated by one operation in place of thirty-five.

    Configuration, moments and values are those of `keras.optimizers.Adam`, without `amsgrad`.
    """

    def apply(self, grads: list[tf.Tensor], trainable_variables: list[keras.Variable] | None = None) -> Any:
        """Update the variables once; what all of them share is worked out once."""
        step = tf.cast(self.iterations.value, tf.float32) + 1.0
        self._correction = tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        nothing = tf.zeros(())  # the correction is in the rate
        names = ("beta1_power", "beta2_power", "beta1", "beta2", "epsilon")
        values = (nothing, nothing, *map(tf.constant, (self.beta_1, self.beta_2, self.epsilon)))
        self._shared = dict(zip(names, values, strict=True))
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Update one variable and its two moments."""
        index = self._get_variable_index(variable)
        m, v = (each[index].value.handle for each in (self._momentums, self._velocities))
        rate = tf.cast(learning_rate, tf.float32) * self._correction
        tf.raw_ops.ResourceApplyAdam(var=variable.handle, m=m, v=v, lr=rate, grad=gradient, **self._shared)


def role_optimizer(generators: Any, critics: Any, segmenter: Any) -> keras.optimizers.MultiOptimizer:
    """Join three Keras optimizers into the one that `SegHGAN.compile` takes; each serves the variables of its role."""
    generators.name, critics.name, segmenter.name = "generator", "critic", "segmenter"
    roles = {"critic.*": critics, "segmenter/.*": segmenter}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(generators, roles))


def optimizer_of(joined: Any, role: str) -> Any:
    """Return the optimizer of one of `ROLES`. Raises ValueError where `joined` does not come from `role_optimizer`."""
    found = {optimizer.name: optimizer for optimizer in getattr(joined, "optimizers", ())}
    if role not in found:
        raise ValueError(f"`optimizer` must come from `role_optimizer`, with one optimizer a role. Received: {joined}")
    return found[role]


def tensors(variables: list[keras.Variable]) -> list[tf.Variable]:
    """Return TensorFlow's own variables: a tape cannot make the zeros of an unconnected Keras variable."""
    return [variable.value for variable in variables]


def reduced(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Sum gradients over replicas, as every Keras optimizer does by itself where they come unreduced."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)


def average_loss(values: tf.Tensor) -> tf.Tensor:
    """Return a replica's part of the average of one number per example (B,) over the examples of all replicas.

    The parts add up to the average, also where the replicas' shares of a batch differ in size.

    >>> float(average_loss(tf.constant([1.0, 3.0])))
    2.0
    """
    _, everyone = share_of_batch(values)
    return tf.reduce_sum(values) / tf.cast(everyone, values.dtype)


def share_of_batch(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where this replica's examples (B, ...) begin in the whole batch, and how many it has over all replicas; int32."""
    replica = tf.distribute.get_replica_context()
    own = replica.replica_id_in_sync_group
    counts = tf.one_hot(own, replica.num_replicas_in_sync, dtype=tf.int32) * tf.shape(values)[0]
    counts = replica.all_reduce(tf.distribute.ReduceOp.SUM, counts)
    return tf.reduce_sum(counts[:own]), tf.reduce_sum(counts)


def averaged_over_replicas(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Undo the sum over replicas that every Keras optimizer makes, for gradients that are reduced already."""
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    return gradients if replicas == 1 else [gradient / replicas for gradient in gradients]


def capped_sum(
    learned: list[tf.Tensor], from_gan: list[tf.Tensor], cap: float | None
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Add the GAN's gradient to the segmentation's, its norm at most `cap` times the other's; return both norms too.

    >>> summed, norms = capped_sum([tf.constant([1.0])], [tf.constant([8.0])], cap=0.25)
    >>> summed[0].numpy().tolist(), float(norms["gan_gradient_norm"])
    ([1.25], 8.0)
    """
    own, gan = tf.linalg.global_norm(learned), tf.linalg.global_norm(from_gan)
    scale = 1.0 if cap is None else tf.minimum(1.0, tf.math.divide_no_nan(cap * own, gan))
    summed = [a + scale * b for a, b in zip(learned, from_gan, strict=True)]
    return summed, {"segmentation_gradient_norm": own, "gan_gradient_norm": gan}
