"""Our Adam is Keras's: the same weights, moments and file."""

import keras
import numpy as np
import tensorflow as tf

from seghgan_tf.model.optimizer import Adam


def trained(kind, steps=50):
    generator = np.random.default_rng(0)
    variables = [keras.Variable(generator.normal(size=(7, 5)).astype("float32")) for _ in range(3)]
    optimizer = kind(keras.optimizers.schedules.CosineDecay(1e-2, 60), 0.5, 0.999, name="adam")
    optimizer.build(variables)
    update = tf.function(lambda gradients: optimizer.apply(tf.unstack(gradients), variables), autograph=False)
    for gradients in generator.normal(size=(steps, 3, 7, 5)).astype("float32"):
        update(tf.constant(gradients))
    return optimizer, [variable.numpy() for variable in (*variables, *optimizer.variables)]


def test_fused_updates_are_those_of_keras():
    (ours, got), (theirs, expected) = trained(Adam), trained(keras.optimizers.Adam)
    assert int(ours.iterations) == 50
    assert ours.get_config() == theirs.get_config()
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6)
