"""Evaluation: figures of a model, ablations, and the gate before a release."""
