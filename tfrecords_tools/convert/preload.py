"""What the server that workers are forked from imports: TensorFlow in silence, and what they run; nothing of it is started."""

from seghgan_tf.quiet import held

with held():
    import tfrecords_tools.convert.shard  # noqa: F401
