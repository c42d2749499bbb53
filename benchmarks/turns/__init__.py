"""Turns of the speed benchmark: each measures one kind of work with some savings, in a process of its own."""
