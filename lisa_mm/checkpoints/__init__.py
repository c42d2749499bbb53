"""Checkpoints: our own format for training, and import and export of published formats."""
