"""The server: an embedded one that speaks TensorFlow Serving's protocols, and the binary's start."""
