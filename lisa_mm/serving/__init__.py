"""A model behind HTTP: docs/serve.md. Needs the extra ``serve``."""
