"""Conversations as text, and as tokens whose answers carry loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..errors import DataError
from ..tokens import IGNORE_INDEX, IMAGE_END, IMAGE_PLACEHOLDER, IMAGE_START, IMAGE_TOKEN_ID, SEG_TOKEN, token_id

# System texts of the published models (LLaVA's conversation templates); released weights depend on them
VICUNA_SYSTEM = (
    'A chat between a curious human and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
VICUNA_V1_SYSTEM = VICUNA_SYSTEM.replace('human and', 'user and').replace("human's", "user's")
LLAMA_2_SYSTEM = (
    'You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, '
    'and assist the user with a variety of tasks using natural language.'
)

A_DAY = datetime(2024, 7, 26)  # the default date of Llama 3.1's template
_CALL_OF_DATE = re.compile(r"""strftime_now\((?P<quote>['"])(?P<format>.*?)(?P=quote)\)""")

Turn = tuple[str, str | None]  # question, answer; an answer of None asks for it


@dataclass(frozen=True)
class Segment:
    """A piece of conversation text.

    Args:
        text: The text.
        carries_loss: Whether its tokens are trained.
        apart: Whether it is tokenised apart from the text before it.
    """

    text: str
    carries_loss: bool = False
    apart: bool = False


def render(
    turns: Sequence[Turn], template: str, tokenizer: PreTrainedTokenizerBase | None = None, *, system: str | None = None
) -> list[Segment]:
    """Render a conversation in a template.

    Args:
        turns: Questions and answers; a last answer of None leaves the prompt open for generation.
        template: See :data:`lisa_mm.datasets.tokenizer.TEMPLATES`.
        tokenizer: Needed for 'chat', whose template it holds.
        system: A system text in place of the template's own.

    Returns:
        Pieces whose joined texts are the conversation (without the first bos).
    """
    if template == 'chat':
        assert tokenizer is not None
        return _render_chat(turns, tokenizer, system)
    segments: list[Segment] = []
    for i, (question, answer) in enumerate(turns):
        if template == 'llava_llama_2':
            told = f'<<SYS>>\n{system or LLAMA_2_SYSTEM}\n<</SYS>>\n\n' if i == 0 else ''
            start = '' if i == 0 else '<s>'
            segments.append(Segment(f'{start}[INST] {told}{question} [/INST]' + ('' if answer is None else ' ')))
            end = ' </s>'
        else:
            own = {'llava_v1': VICUNA_SYSTEM + ' ', 'vicuna_v1': VICUNA_V1_SYSTEM + ' ', 'plain': ''}[template]
            told = '' if i else own if system is None else system + ' '
            segments.append(Segment(f'{told}USER: {question} ASSISTANT:' + ('' if answer is None else ' ')))
            end = '</s>'
        if answer is not None:
            segments.append(Segment(answer + end, carries_loss=True))
    return segments


def _render_chat(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, system: str | None) -> list[Segment]:
    """Render once with marks in place of the answers: templates may trim or drop text, so prefix lengths are unreliable."""
    as_list = _wants_lists(tokenizer)
    messages = [] if system is None else [_message('system', system, as_list)]
    for i, (question, answer) in enumerate(turns):
        messages.append(_message('user', question, as_list))
        if answer is not None:
            messages.append(_message('assistant', f'@@answer{i}@@', as_list))
    text, refusal = '', 'drops it'
    try:
        text = _apply_template(tokenizer, messages, add_generation_prompt=turns[-1][1] is None)
    except TemplateError as error:
        if system is None:
            raise
        refusal = str(error)
    if system is not None and system not in text:
        raise DataError(
            f'the chat template of this model takes no system text {system[:60]!r} ({refusal}). Put it into the first question, '
            'or take it out.'
        )
    bos = tokenizer.bos_token
    if bos and tokenizer('a').input_ids[0] == tokenizer.bos_token_id:
        text = text.removeprefix(str(bos))  # encode() puts it back
    pieces = []
    for i, (_, answer) in enumerate(turns):
        if answer is None:
            continue
        before, mark, text = text.partition(f'@@answer{i}@@')
        if not mark:
            raise DataError(
                f'the chat template drops answer {i} of a conversation of {len(turns)} turns: split it into single turns.'
            )
        pieces.append((before, answer))
    # the text between an answer and the next question differs from turn to turn, but always starts with the end of the turn
    follows = [before for before, _ in pieces[1:]] + [text] if pieces else []
    closing = _common_closing(follows, tokenizer)
    said, apart = _before_answers(tokenizer)
    segments = []
    for n, (before, answer) in enumerate(pieces):
        opened = before[len(closing) :] if n else before
        started = said if opened.endswith(said) else ''
        opened = opened.removesuffix(started)
        segments += [Segment(opened)] if opened else []
        segments.append(Segment(started + answer + closing, carries_loss=True, apart=apart))
    rest = text[len(closing) :]
    return [*segments, Segment(rest)] if rest else segments


def _apply_template(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], **options: Any) -> str:
    """Apply the tokenizer's own template with a fixed date and without thinking before an answer.

    Llama 3.2 and SmolLM3 write today's date into the system text: a sample would differ tomorrow. Qwen3 and SmolLM3 put
    an empty thought before the answer in training texts; they must be told not to think for generation to begin the same way.
    """
    template = _CALL_OF_DATE.sub(lambda call: repr(A_DAY.strftime(call['format'])), tokenizer.get_chat_template())
    return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, enable_thinking=False, **options))


@lru_cache(maxsize=8)
def _before_answers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """How a training text continues at the point where generation begins.

    Returns:
        The text between an open prompt and the answer (Mistral's blank), which the model must say. Whether the answer must be
        tokenised apart: if the prompt's last characters merged into it, generation would start from untrained tokens.
    """
    as_list = _wants_lists(tokenizer)
    asked = [_message('user', 'a', as_list)]
    prompt = _apply_template(tokenizer, asked, add_generation_prompt=True)
    told = _apply_template(tokenizer, [*asked, _message('assistant', '@@answer@@', as_list)])
    before = told.partition('@@answer@@')[0]
    if not before.startswith(prompt):
        return '', False
    ids = tokenizer(prompt).input_ids
    return before[len(prompt) :], tokenizer(told.replace('@@answer@@', 'It is')).input_ids[: len(ids)] != ids


def _message(role: str, text: str, as_list: bool) -> dict[str, Any]:
    return {'role': role, 'content': [{'type': 'text', 'text': text}] if as_list else text}


def _common_closing(follows: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> str:
    """White space and the special token that end every answer; '' if there are none.

    It is not always the tokenizer's eos: Gemma ends a turn with ``<end_of_turn>``, Phi-3 with ``<|end|>``. The model must
    learn to produce it, or it never stops.
    """
    own = {SEG_TOKEN, IMAGE_START, IMAGE_END, str(tokenizer.bos_token)}
    known = {*map(str, tokenizer.all_special_tokens), *tokenizer.get_added_vocab()} - own  # type: ignore - no types in transformers
    found = set()
    for text in follows:
        stripped = text.lstrip()
        token = max((t for t in known if t and stripped.startswith(t)), key=len, default='')
        found.add(text[: len(text) - len(stripped)] + token if token else '')
    return found.pop() if len(found) == 1 else ''


def said_text(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, answer_tokens: Sequence[str]) -> str:
    """Generated ids as text: words and answer tokens, without further special tokens.

    Args:
        ids: Generated ids.
        tokenizer: The model's tokenizer.
        answer_tokens: Tokens of answers that stay, such as ``[SEG]`` and ``[REJ]``.
    """
    own = {token_id(tokenizer, token) for token in answer_tokens}
    special = set(tokenizer.all_special_ids) - own
    kept = [token for token in ids if token not in special and token != IMAGE_TOKEN_ID]
    return str(tokenizer.decode(kept)).strip()


def stop_ids(template: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that end an answer: eos, and what a chat template writes behind an answer."""
    ids = [int(tokenizer.eos_token_id)]  # pyright: ignore[reportArgumentType] - a tokenizer's eos token is one
    if template == 'chat':
        ended = render([('a', 'b')], template, tokenizer)
        closing = next(segment.text for segment in ended if segment.carries_loss).partition('b')[2].strip()
        if closing and tokenizer.convert_tokens_to_ids(closing) not in ids:
            ids.append(token_id(tokenizer, closing))
    return ids


def _wants_lists(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the template only takes ``[{'type': 'text', ...}]``: some multimodal models drop or refuse plain text."""
    probe = '@@question@@'
    try:
        text = _apply_template(tokenizer, [{'role': 'user', 'content': probe}])
    except (TypeError, TemplateError):
        return True
    return probe not in text


def encode(
    segments: Sequence[Segment],
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_image_tokens: int | None = None,
    image_ids: Sequence[int] | None = None,
    wrap_image: bool,
) -> tuple[Tensor, Tensor]:
    """Encode one conversation as token ids and labels.

    The text around each ``<image>`` is tokenised separately, as the published models were trained; the first token is bos if
    the tokenizer has one. A token carries loss if it overlaps a piece that does.

    Args:
        segments: Pieces from :func:`render`.
        tokenizer: The model's tokenizer.
        num_image_tokens: Number of tokens of an image, if it is the same for all images.
        image_ids: Otherwise, this image's tokens from its processor, -200 for each feature.
        wrap_image: Put the two image tokens around the image.

    Returns:
        ids (L,) int64 with ``num_image_tokens`` times -200 for each ``<image>``; labels (L,) int64, -100 where there is no loss.
    """
    if (num_image_tokens is None) == (image_ids is None):
        raise DataError('encode() needs num_image_tokens or image_ids: one number for all images, or the tokens of this one.')
    of_image = [IMAGE_TOKEN_ID] * num_image_tokens if image_ids is None else list(image_ids)  # type: ignore[operator] - one is given
    text, spans, borders = '', [], []
    for segment in segments:
        piece = segment.text
        if segment.apart:
            borders.append(len(text))
        if segment.carries_loss:
            spans.append((len(text), len(text) + len(piece)))
        elif wrap_image:
            piece = piece.replace(IMAGE_PLACEHOLDER, IMAGE_START + IMAGE_PLACEHOLDER + IMAGE_END)
        if segment.carries_loss and IMAGE_PLACEHOLDER in piece:
            raise DataError(f'an answer contains {IMAGE_PLACEHOLDER!r}: {piece[:80]!r}. Only questions may hold an image.')
        text += piece
    ids: list[int] = []
    labels: list[int] = []
    start = 0
    for number, chunk in enumerate(text.split(IMAGE_PLACEHOLDER)):
        if number:
            ids += of_image
            labels += [IGNORE_INDEX] * len(of_image)
        end = start + len(chunk)
        cuts = [start, *(border for border in borders if start < border < end), end]
        for begin, stop in pairwise(cuts):
            encoded = tokenizer(text[begin:stop], return_offsets_mapping=True)
            for token, (left, right) in zip(encoded.input_ids, encoded.offset_mapping, strict=True):
                if right == left and token == tokenizer.bos_token_id:
                    if not ids:
                        ids.append(token)
                        labels.append(IGNORE_INDEX)
                    continue
                trained = right > left and any(begin + left < last and begin + right > first for first, last in spans)
                ids.append(token)
                labels.append(token if trained else IGNORE_INDEX)
        start = end + len(IMAGE_PLACEHOLDER)
    return torch.tensor(ids), torch.tensor(labels)


def mark_loss(ids: Tensor, labels: Tensor, tokenizer: PreTrainedTokenizerBase) -> str:
    """A row's text with ``<image x N>`` for image tokens and «...» around tokens that carry loss.

    Args:
        ids: (L,), without padding.
        labels: (L,), -100 where there is no loss.
        tokenizer: Decodes the ids.

    Returns:
        The text, special tokens included.
    """
    tokens = [(token, label != IGNORE_INDEX) for token, label in zip(ids.tolist(), labels.tolist(), strict=True)]
    text, before = '', []
    for (is_image, trained), group in groupby(tokens, key=lambda item: (item[0] == IMAGE_TOKEN_ID, item[1])):
        piece = [token for token, _ in group]
        if is_image:
            shown = f'<image x {len(piece)}>'
        else:
            shown = _continue(before, piece, lambda part: str(tokenizer.decode(part, skip_special_tokens=False)))
            before = before + piece
        text += f'«{shown}»' if trained else shown
    return text


def _continue(before: list[int], piece: list[int], decode: Callable[[list[int]], str]) -> str:
    """What ``piece`` adds to the text: sentencepiece swallows a blank at the start of a text that is decoded on its own."""
    start, whole = decode(before), decode(before + piece)
    return whole[len(start) :] if whole.startswith(start) else decode(piece)
