"""Multimodal LLMs."""

from .llava import LlavaMLLM

__all__ = ['LlavaMLLM']
