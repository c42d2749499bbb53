"""The programs that run.py starts, one per stage."""
