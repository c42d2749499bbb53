"""The calculated memory of a training step against the measured one."""
