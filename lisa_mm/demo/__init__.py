"""The web demo: a page that asks models about an image, and its server."""
