"""One conversation as the model sees it, with the text that carries loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..datasets.conversation import Turn, encode, mark_loss, render
from ..datasets.tokenizer import build_tokenizer
from ..structures import TokenizerSpec
from ..tokens import IGNORE_INDEX, SEG_TOKEN, token_id

TURNS: tuple[Turn, ...] = (
    ('<image>\nCan you segment the cat in this image?', 'Sure, it is [SEG].'),
    ('What colour is it?', 'It is black.'),
)


@dataclass(frozen=True)
class Example:
    """A rendered conversation.

    Args:
        text: The text with ``<image x N>`` for image tokens and «...» around tokens that carry loss.
        trained: The text that carries loss, one entry per turn.
        tokens: Number of tokens of the row; None if the tokenizer is absent.
        missing: The tokenizer's folder if it is absent; then ids are not checked.
        faults: Text that the tokens do not reproduce.
    """

    text: str
    trained: list[str]
    tokens: int | None
    missing: str | None
    faults: list[str]


def example_conversation(spec: TokenizerSpec, num_image_tokens: int) -> Example:
    """Render and, where the tokenizer is there, encode an example in a model's template.

    Args:
        spec: Arguments of :func:`build_tokenizer`, as ``BaseMLLM.tokenizer_spec``.
        num_image_tokens: Number of tokens of one image.
    """
    if not Path(spec['pretrained']).is_dir():
        if spec['template'] == 'chat':  # the template is in the tokenizer's folder
            return Example('', [], None, spec['pretrained'], [])
        segments = render(TURNS, spec['template'])
        shown = ''.join(f'«{s.text}»' if s.carries_loss else s.text for s in segments)
        return Example(
            shown.replace('<image>', f'<image x {num_image_tokens}>'),
            [s.text for s in segments if s.carries_loss],
            None,
            spec['pretrained'],
            [],
        )
    tokenizer = build_tokenizer(**spec)
    segments = render(TURNS, spec['template'], tokenizer)
    wanted = [s.text for s in segments if s.carries_loss]
    ids, labels = encode(segments, tokenizer, num_image_tokens=num_image_tokens, wrap_image=spec['wrap_image'])
    faults = []
    back = tokenizer.decode([token for token in labels.tolist() if token != IGNORE_INDEX])
    if ''.join(str(back).split()) != ''.join(''.join(wanted).split()):
        faults.append(f'template {spec["template"]!r}: the tokens that carry loss say {back!r}, not {"".join(wanted)!r}.')
    found = int((ids == token_id(tokenizer, SEG_TOKEN)).sum())  # the example's only answer token
    if found != 1:
        faults.append(f'template {spec["template"]!r}: {SEG_TOKEN} comes back {found} times instead of once.')
    return Example(mark_loss(ids, labels, tokenizer), wanted, len(ids), None, faults)
