"""Multimodal LLMs."""

from .hf_mllm import HFMLLM
from .llava import LlavaMLLM

__all__ = ['HFMLLM', 'LlavaMLLM']
