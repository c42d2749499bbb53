"""Tokenizers with the three tokens of LISA."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerBase

from ..errors import CheckpointError, ConfigError, nearest

SEG_TOKEN = '[SEG]'
IMAGE_START, IMAGE_END = '<im_start>', '<im_end>'
IMAGE_PLACEHOLDER = '<image>'
TEMPLATES = ('llava_v1', 'llava_llama_2', 'vicuna_v1', 'plain', 'chat')


def added_tokens(wrap_image: bool) -> list[str]:
    """The tokens that every tokenizer gets here."""
    return [SEG_TOKEN, IMAGE_START, IMAGE_END] if wrap_image else [SEG_TOKEN]


@lru_cache(maxsize=8)
def build_tokenizer(pretrained: str, template: str = 'llava_v1', wrap_image: bool = True) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder with ``[SEG]``, and ``<im_start>``, ``<im_end>`` when images are wrapped.

    The published models (a Llama's ``tokenizer.model``) were trained with white space stripped around the added tokens and with
    ``[SEG]`` not special; their ids are kept. Every other tokenizer gets ``[SEG]`` as a special token that keeps its
    surroundings.

    Args:
        pretrained: Folder with the tokenizer's files.
        template: Name of the conversation template; checked here, used by the conversation transforms.
        wrap_image: Add the two image tokens.

    Raises:
        CheckpointError: if the folder holds no tokenizer.
        ConfigError: for an unknown template, or 'chat' without a chat template.
    """
    if template not in TEMPLATES:
        raise ConfigError(f'template {template!r} is unknown.{nearest(template, TEMPLATES)}')
    folder = Path(pretrained)
    if not folder.is_dir():
        raise CheckpointError(f'tokenizer: {folder} is no folder. Give the folder of the language model or of its tokenizer.')
    if is_published_llama(folder):
        tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=True)
        tokenizer.pad_token = tokenizer.unk_token
        stripped = {'lstrip': True, 'rstrip': True}
        tokenizer.add_tokens([AddedToken(SEG_TOKEN, special=False, normalized=False, **stripped)])
        if wrap_image:
            images = [AddedToken(token, special=True, normalized=False, **stripped) for token in (IMAGE_START, IMAGE_END)]
            tokenizer.add_tokens(images, special_tokens=True)
        return tokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{folder} holds no readable tokenizer ({str(error).splitlines()[0]}).') from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    new = [AddedToken(name, special=True, normalized=False) for name in added_tokens(wrap_image)]
    tokenizer.add_tokens(new, special_tokens=True)
    if template == 'chat' and not tokenizer.chat_template:
        raise ConfigError(f"template='chat', but the tokenizer of {folder} has no chat template. Choose one of {TEMPLATES[:-1]}.")
    return tokenizer


def is_published_llama(folder: Path) -> bool:
    """Whether the folder is a Llama, LLaVA or LISA of the sentencepiece kind."""
    if not (folder / 'tokenizer.model').is_file():
        return False
    config = folder / 'config.json'
    if not config.is_file():
        return True
    return json.loads(config.read_text(encoding='utf-8')).get('model_type') in ('llava', 'llama')
