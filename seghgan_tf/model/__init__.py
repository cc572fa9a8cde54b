"""The model: networks, layers, losses, and the `keras.Model` that trains them together."""

from seghgan_tf.model.seghgan import SegHGAN, role_optimizer

__all__ = ["SegHGAN", "role_optimizer"]
