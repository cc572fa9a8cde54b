"""The networks of the model, each a function returning a functional `keras.Model`."""
