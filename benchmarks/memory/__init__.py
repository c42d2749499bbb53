"""Compare the calculated memory of a training step with the measured one."""
