"""Checkpoints: our own of training, published formats in and out."""
