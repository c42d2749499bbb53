"""Calculate, before a run, how much memory a config's training step takes."""
