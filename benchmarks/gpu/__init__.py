"""Checks on a GPU."""
