"""Checks of a question, its image and the place of its answer, in order of their cost and before a model is read."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import PreTrainedTokenizerBase

from ..datasets import images
from ..datasets.conversation import Turn
from ..datasets.tokenizer import build_tokenizer
from ..datasets.transforms import LoadImage
from ..errors import DataError, UserError
from ..file_kinds import identify
from ..models.decoding import AnswerOptions
from ..structures import TokenizerSpec
from ..tokens import IMAGE_END, IMAGE_PLACEHOLDER, IMAGE_START
from .fetching import fetch_image, is_address
from .loading import ReadyModel, prepare_model, resolve

# What separates the turns of a template; those of 'chat' are special tokens
SEPARATORS = {
    'llava_v1': ('USER:', 'ASSISTANT:'),
    'vicuna_v1': ('USER:', 'ASSISTANT:'),
    'plain': ('USER:', 'ASSISTANT:'),
    'llava_llama_2': ('[INST]', '[/INST]', '<<SYS>>', '<</SYS>>'),
}
_EXAMPLE = 'Ask something, e.g. "the small red cup".'
_WANTED = 'Give a file, an image of Pillow, or (H, W, 3) uint8 in RGB.'


def prepare_request(
    target: str | Path,
    checkpoint: str | Path | None,
    image: str | Path,
    question: str,
    out: str | Path,
    *,
    options: AnswerOptions | None = None,
    device: str | None = None,
    dtype: str = 'float32',
) -> tuple[ReadyModel, np.ndarray]:
    """Check all of a request before the model's weights are read, which may take minutes.

    Args:
        target, checkpoint: As in :func:`.loading.resolve`.
        image: A file or an http(s) address.
        question: The question.
        out: Folder for the answer's files.
        options: How it is answered.
        device, dtype: As in :class:`.inferencer.LISAInferencer`.

    Returns:
        The model, for :class:`.inferencer.LISAInferencer`; the image (H, W, 3) uint8 RGB.

    Raises:
        UserError: for the first fault.
    """
    check_text(question, 'question')
    check_options(options or AnswerOptions())
    check_folder(out)
    ready = prepare_model(*resolve(target, checkpoint), device=device, dtype=dtype)
    results = read_image(image, ready.image_loader())
    check_question(question, ready.tokenizer_spec)
    return ready, results['img']


def check_question(question: object, spec: TokenizerSpec) -> None:
    """Check that a question is text that no token of the model's interrupts.

    Args:
        question: The question.
        spec: The model's ``tokenizer_spec``.

    Raises:
        DataError: if it is empty, or holds the image's place, a mask token, a special token or a separator of turns.
    """
    text = check_text(question, 'question')
    tokenizer = build_tokenizer(**spec)
    meanings = {
        **dict.fromkeys(special_tokens(tokenizer), 'is a special token of the model'),
        **dict.fromkeys(SEPARATORS.get(spec['template'], ()), f'begins a turn in the template {spec["template"]!r}'),
        **dict.fromkeys(spec['mask_tokens'], 'is the token by which the model answers with a mask'),
        **dict.fromkeys((IMAGE_PLACEHOLDER, IMAGE_START, IMAGE_END), 'stands for the image, which is put in by itself'),
    }
    for token in sorted(meanings, key=len, reverse=True):
        if token in text and token not in spec['answer_tokens']:
            raise DataError(f'the question holds {token!r}, which {meanings[token]}. Leave it out, or write it otherwise.')


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """All tokens that a tokenizer takes for a sign of its own rather than for text."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    return {str(token) for token in tokenizer.all_special_tokens} | {str(t) for t in added.values() if t.special}


def check_history(history: object, spec: TokenizerSpec) -> list[Turn]:
    """Check earlier turns.

    Raises:
        DataError: unless they are pairs of a question and its answer.
    """
    if not isinstance(history, Sequence) or isinstance(history, str):
        raise DataError(f'history is a {type(history).__name__}; give a list of (question, answer).')
    for number, turn in enumerate(history):
        if not isinstance(turn, Sequence) or isinstance(turn, str) or len(turn) != 2:
            raise DataError(f'history[{number}] is {turn!r}; give (question, answer).')
        check_question(turn[0], spec)
        check_text(turn[1], f'answer of history[{number}]')
    return [(question, answer) for question, answer in history]


def check_text(text: object, what: str) -> str:
    """The text, if it is one that says something."""
    if not isinstance(text, str):
        raise DataError(f'the {what} is a {type(text).__name__}; give a text.')
    if not text.strip():
        raise DataError(f'the {what} is empty. {_EXAMPLE if what == "question" else "Give its text."}')
    return text


def check_number_of_tokens(number: object) -> None:
    """Raise unless a maximum number of new tokens is a positive whole number."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise DataError(f'max_new_tokens is {number!r}; give a whole number from 1 on, such as 64.')


def check_options(options: AnswerOptions) -> None:
    """Raise unless the options of an answer are possible.

    Raises:
        DataError: naming the option and what is allowed.
    """
    check_number_of_tokens(options.max_new_tokens)
    if not options.temperature >= 0 or not np.isfinite(options.temperature):
        raise DataError(f'temperature is {options.temperature!r}; give 0 (the likeliest token) or more, such as 0.7.')
    if not 0 < options.top_p <= 1:
        raise DataError(f'top_p is {options.top_p!r}; give a share above 0 and up to 1.')
    if isinstance(options.top_k, bool) or not isinstance(options.top_k, (int, np.integer)) or options.top_k < 0:
        raise DataError(f'top_k is {options.top_k!r}; give a whole number from 0 on; 0 takes all tokens.')
    if isinstance(options.seed, bool) or not isinstance(options.seed, (int, np.integer)) or not 0 <= options.seed < 2**63:
        raise DataError(f'seed is {options.seed!r}; give a whole number from 0 to {2**63 - 1}.')


def check_batch_size(size: object) -> int:
    """A batch size, if it is a positive whole number."""
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise DataError(f'batch_size is {size!r}; give a whole number from 1 on, such as 8.')
    return int(size)


def check_folder(folder: str | Path) -> Path:
    """A folder for files, which may be there already.

    Raises:
        UserError: if its place is taken by a file, or may not be written to.
    """
    folder = Path(folder)
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not place.is_dir():
        raise UserError(f'{place} is a file, so the answers cannot be written to {folder}. Give another folder.')
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f'{folder} cannot be written: no permission for {place}. Give another folder.')
    return folder


def check_file_to_write(path: str | Path) -> Path:
    """The path of a file that will be written or replaced.

    Raises:
        UserError: if it is a folder, or its folder is not there or may not be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f'{path} is a folder; give the name of a file to write.')
    if not path.parent.is_dir():
        raise UserError(f'{path} cannot be written: {path.parent} is no folder. Make it, or give another file.')
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f'{path} cannot be written: no permission. Give another file.')
    return path


def free_stem(folder: Path, stem: str) -> str:
    """The stem, or stem_2, stem_3, ..., so that no file of another answer has a name that begins with it."""
    names = [path.name for path in folder.iterdir()]

    def is_taken(candidate: str) -> bool:
        pattern = re.compile(rf'{re.escape(candidate)}_(overlay|page|mask_\d+)\.png')
        return any(pattern.fullmatch(name) for name in names)

    number = 1
    while is_taken(stem if number == 1 else f'{stem}_{number}'):
        number += 1
    return stem if number == 1 else f'{stem}_{number}'


def read_image(image: object, load: Any = None) -> dict[str, Any]:
    """``img`` (H, W, 3) uint8 RGB with ``original_size`` and ``sample_id``, as at the start of a pipeline.

    Files and Pillow images are rotated as their EXIF tag says; masks have the resulting size.

    Args:
        image: A file, an http(s) address, an image of Pillow, or (H, W, 3) uint8 RGB.
        load: The pipeline's step that reads images; its ``value_range`` holds for Pillow images too. By default LoadImage.

    Raises:
        DataError: if the image is unreadable or of a kind that is refused, or an array has another shape or dtype.
    """
    load = LoadImage() if load is None else load
    if is_address(image):
        pixels = fetch_image(str(image), value_range=getattr(load, 'value_range', None))
        return {'img': pixels, 'img_path': str(image), 'original_size': pixels.shape[:2], 'sample_id': str(image)}
    if isinstance(image, (str, Path)):
        return _read_file(Path(image), load)
    if isinstance(image, Image.Image):
        try:
            pixels = images.to_rgb(image, getattr(load, 'value_range', None))
        except DataError as error:
            raise DataError(f'the given image {error}') from error
    elif isinstance(image, np.ndarray):
        pixels = _check_array(image)
    else:
        raise DataError(f'the image is a {type(image).__module__}.{type(image).__name__}. {_WANTED}')
    return {'img': pixels, 'img_path': '', 'original_size': pixels.shape[:2], 'sample_id': 'the given image'}


def _read_file(path: Path, load: Any) -> dict[str, Any]:
    if path.is_dir():
        raise DataError(f'{path} is a folder. Give one image file.', file=path)
    if not path.is_file():
        raise DataError(f'{path}: no such file. Give one image file.', file=path)
    try:
        return load({'img_path': str(path), 'sample_id': str(path)})
    except DataError as error:
        kind = identify(path)
        if kind.stand_in or kind.name in ('text', 'json'):
            remedy = kind.remedy if kind.stand_in else 'Give one image file.'
            raise DataError(f'{path} {kind.says}, no image. {remedy}', file=path) from error
        raise


def _check_array(image: np.ndarray) -> np.ndarray:
    shape, hint = image.shape, ''
    if not image.size:
        hint = 'it has no pixels'
    elif image.ndim == 3 and shape[0] == 3 and shape[2] != 3:
        hint = 'its channels come first: image.transpose(1, 2, 0)'
    elif image.ndim == 3 and shape[2] == 4:
        hint = '4 channels: image[..., :3] if the fourth is opacity'
    elif image.ndim == 2 or (image.ndim == 3 and shape[2] == 1):
        hint = 'one channel: np.stack([grey] * 3, -1)'
    elif image.ndim != 3 or shape[2] != 3:
        hint = 'another shape'
    elif image.dtype != np.uint8:
        hint = 'another dtype; of numbers from 0 to 1: (image * 255).round().astype(np.uint8)'
    if hint:
        raise DataError(f'the image is an array {shape} of {image.dtype} ({hint}). {_WANTED}')
    return np.ascontiguousarray(image)
