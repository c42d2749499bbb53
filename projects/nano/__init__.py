"""Data and parts for lisa_nano: the drawn demo set, emoji scenes, a pretrained LLM for small machines, aligned heads."""
