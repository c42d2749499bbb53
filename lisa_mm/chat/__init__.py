"""A conversation about an image in the terminal."""
