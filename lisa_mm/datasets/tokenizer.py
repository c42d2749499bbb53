"""Tokenizers with LISA's tokens: mask tokens, other answer tokens, and the two around an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerBase

from ..errors import CheckpointError, ConfigError, nearest
from ..file_kinds import check_tokenizer_files, library_words, read_json
from ..tokens import IMAGE_END, IMAGE_PLACEHOLDER, IMAGE_START, MASK_TOKENS, SEG_TOKEN

TEMPLATES = ('llava_v1', 'llava_llama_2', 'vicuna_v1', 'plain', 'chat')


def added_tokens(wrap_image: bool, mask_tokens: Sequence[str] = MASK_TOKENS, answer_tokens: Sequence[str] = ()) -> list[str]:
    """The tokens added to a tokenizer, in id order: the published models' tokens come first and keep their ids.

    >>> added_tokens(True, ('[SEG]', '[PART]'), ('[REJ]',))
    ['[SEG]', '<im_start>', '<im_end>', '[PART]', '[REJ]']

    Raises:
        ConfigError: for tokens that cannot be distinguished in a text.
    """
    first, *others = check_tokens(mask_tokens, answer_tokens)
    return [first, *([IMAGE_START, IMAGE_END] if wrap_image else []), *others]


def check_tokens(mask_tokens: Sequence[str], answer_tokens: Sequence[str]) -> list[str]:
    """All answer tokens, mask tokens first.

    Raises:
        ConfigError: if the first is not ``[SEG]``, or if one is empty, contains white space, or lies inside another.
    """
    for name, tokens in (('mask_tokens', mask_tokens), ('answer_tokens', answer_tokens)):
        if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
            raise ConfigError(f'{name} is {tokens!r}; give a list of tokens, e.g. {name}=[{SEG_TOKEN!r}].')
    if not mask_tokens or mask_tokens[0] != SEG_TOKEN:
        raise ConfigError(
            f'mask_tokens is {list(mask_tokens)}; it must begin with {SEG_TOKEN!r}, which the readers write into answers: '
            f'mask_tokens=[{SEG_TOKEN!r}, ...].'
        )
    tokens = [*mask_tokens, *answer_tokens]
    kept = [IMAGE_START, IMAGE_END, IMAGE_PLACEHOLDER]
    for number, token in enumerate(tokens):
        if not token or len(token.split()) != 1 or token != token.strip():
            raise ConfigError(f'the answer token {token!r} is empty or holds white space. Choose another.')
        clash = next((other for other in [*tokens[:number], *tokens[number + 1 :], *kept] if token in other), None)
        if clash is not None:
            raise ConfigError(f'the answer token {token!r} lies inside {clash!r}: a text could mean either. Choose another.')
    return tokens


def count_masks(text: str, mask_tokens: Sequence[str] = MASK_TOKENS) -> int:
    """Number of masks that a text asks for.

    >>> count_masks('The cup [SEG] has a handle [PART].', ('[SEG]', '[PART]'))
    2
    """
    return sum(text.count(token) for token in mask_tokens)


@lru_cache(maxsize=8)
def build_tokenizer(
    pretrained: str,
    template: str = 'llava_v1',
    wrap_image: bool = True,
    mask_tokens: tuple[str, ...] = MASK_TOKENS,
    answer_tokens: tuple[str, ...] = (),
) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer and add ``[SEG]``, and ``<im_start>`` and ``<im_end>`` if images are wrapped.

    The published models (a Llama's ``tokenizer.model``) were trained with white space stripped around the added tokens and with
    ``[SEG]`` not special; their ids are kept. Every other tokenizer gets ``[SEG]`` as a special token that keeps the
    white space around it.

    Args:
        pretrained: Folder with the tokenizer's files.
        template: Name of the conversation template; checked here, used by the conversation transforms.
        wrap_image: Add the two image tokens.
        mask_tokens: Tokens that become masks, ``[SEG]`` first.
        answer_tokens: Other answer tokens, such as ``[REJ]``, ``<p>``, ``</p>``.

    Raises:
        CheckpointError: if the folder holds no tokenizer.
        ConfigError: for an unknown template, for tokens that cannot be distinguished, or 'chat' without a chat template.
    """
    if template not in TEMPLATES:
        raise ConfigError(f'template {template!r} is unknown.{nearest(template, TEMPLATES)}')
    names = added_tokens(wrap_image, mask_tokens, answer_tokens)
    folder = Path(pretrained)
    if not folder.is_dir():
        raise CheckpointError(f'tokenizer: {folder} is no folder. Give the folder of the language model or of its tokenizer.')
    check_tokenizer_files(folder)
    if is_published_llama(folder):
        tokenizer = _load(lambda: LlamaTokenizer.from_pretrained(folder, legacy=True), folder)
        tokenizer.pad_token = tokenizer.unk_token
        stripped = {'lstrip': True, 'rstrip': True}
        tokenizer.add_tokens([AddedToken(SEG_TOKEN, special=False, normalized=False, **stripped)])
        if wrap_image:
            images = [AddedToken(token, special=True, normalized=False, **stripped) for token in (IMAGE_START, IMAGE_END)]
            tokenizer.add_tokens(images, special_tokens=True)
        known = {SEG_TOKEN, IMAGE_START, IMAGE_END}
        tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in names if name not in known])
        return tokenizer
    tokenizer = _load(lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False), folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    new = [AddedToken(name, special=True, normalized=False) for name in names]
    tokenizer.add_tokens(new, special_tokens=True)
    if template == 'chat' and not tokenizer.chat_template:
        raise ConfigError(f"template='chat', but the tokenizer of {folder} has no chat template. Choose one of {TEMPLATES[:-1]}.")
    return tokenizer


def _load(load: Callable[[], Any], folder: Path) -> Any:
    try:
        return load()
    except Exception as error:  # the tokenizers package raises bare ones, transformers any for a damaged file
        raise CheckpointError(
            f'{folder} holds no readable tokenizer ({library_words(error)}). Download the files of its tokenizer again.'
        ) from None


def is_published_llama(folder: Path) -> bool:
    """Whether the folder is a Llama, LLaVA or LISA with a sentencepiece tokenizer."""
    if not (folder / 'tokenizer.model').is_file():
        return False
    config = folder / 'config.json'
    if not config.is_file():
        return True
    return read_json(config).get('model_type') in ('llava', 'llama')
