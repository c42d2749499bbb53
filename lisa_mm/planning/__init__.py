"""What a config means before it runs: how much memory a training step of it takes."""
