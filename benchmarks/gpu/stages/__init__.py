"""The programs started by run.py, one per stage."""
