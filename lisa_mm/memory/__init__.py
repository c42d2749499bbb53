"""How much memory a training step takes: calculated from a config, and measured on a CPU to check the calculation."""
