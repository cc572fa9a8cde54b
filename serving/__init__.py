"""Serve an exported model over the TensorFlow Serving contract; imports nothing of `seghgan_tf`."""
