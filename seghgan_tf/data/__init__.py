"""Records: the schema, folders of them, and tf.data streams of batches."""
