"""Predict labels of texts with trained checkpoints."""
