"""The model: networks, layers, losses, and the `keras.Model` that trains them together."""

from seghgan_tf.model.optimizer import role_optimizer
from seghgan_tf.model.seghgan import SegHGAN

__all__ = ["SegHGAN", "role_optimizer"]
