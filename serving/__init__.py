"""Serving: the export contract, an embedded server that speaks TensorFlow Serving's protocols, and its client."""
