"""Question and answer strings of the published recipe; released weights depend on them."""

from __future__ import annotations

import re

SHORT_QUESTIONS = (
    '<image>\nCan you segment the {name} in this image?',
    '<image>\nPlease segment the {name} in this image.',
    '<image>\nWhat is {name} in this image? Please respond with segmentation mask.',
    '<image>\nWhat is {name} in this image? Please output segmentation mask.',
)
LONG_QUESTIONS = (
    '<image>\n{sentence} Please respond with segmentation mask.',
    '<image>\n{sentence} Please output segmentation mask.',
)
EXPLANATORY_QUESTIONS = (
    '<image>\n{sentence} Please output segmentation mask and explain why.',
    '<image>\n{sentence} Please output segmentation mask and explain the reason.',
    '<image>\n{sentence} Please output segmentation mask and give some explanation.',
)
ANSWERS = ('It is [SEG].', 'Sure, [SEG].', 'Sure, it is [SEG].', 'Sure, the segmentation result is [SEG].', '[SEG].')
VALIDATION_ANSWER = '[SEG].'

# not of the recipe: what users type, and the answer to what is not there (GSVA, CVPR 2024, has the token [REJ])
BARE_QUESTION = '<image>\n{text}'
REJECTING_ANSWERS = ('It is {token}.', 'Sorry, {token}.', 'There is none, {token}.', '{token}.')


def validation_question(text: str, is_sentence: bool) -> str:
    """The question of validation; the blank after the newline and the stripping of the text come from the original."""
    text = text.strip()
    if is_sentence:
        return f'<image>\n {text} Please output segmentation mask.'
    return f'<image>\n What is {text} in this image? Please output segmentation mask.'


# A sentence begins with one of these, or ends with a mark
_ASKING = 'what which where who whom whose when why how is are was were does do did can could will would should may'
_TELLING = 'find show mark locate identify highlight select outline output tell give describe explain please there if i you we it'
_QUESTION = re.compile(rf'(?:{"|".join(_ASKING.split())})\b', re.IGNORECASE)
_SENTENCE = re.compile(rf'(?:{"|".join(_TELLING.split())})\b|.*[.?!]["\')\]]*$', re.IGNORECASE | re.DOTALL)
_ASKS_FOR_MASK = re.compile(
    r'\bsegment|\bmasks? (?:of|for)\b|\b(?:output|respond with|give|draw|show)\b.*\bmasks?\b', re.IGNORECASE
)


def is_sentence(text: str) -> bool:
    """Whether a text asks or tells something; otherwise it is a phrase, which names a thing.

    >>> is_sentence('the red cup'), is_sentence('Where could the bird drink')
    (False, True)
    """
    text = text.strip()
    return bool(_ASKS_FOR_MASK.search(text) or _QUESTION.match(text) or _SENTENCE.match(text))


def request_mask(text: str) -> str:
    """A user's phrase or sentence as one of the recipe's questions, which trained models answer with a mask.

    A text that asks for segmentation or for a mask stays as it is.

    >>> request_mask('the red cup')
    'What is the red cup in this image? Please output segmentation mask.'
    >>> request_mask('Where could the bird drink')
    'Where could the bird drink? Please output segmentation mask.'
    >>> request_mask('Segment the red cup.')
    'Segment the red cup.'
    """
    text = text.strip()
    if _ASKS_FOR_MASK.search(text):
        return text
    if not is_sentence(text):
        return SHORT_QUESTIONS[-1].removeprefix('<image>\n').format(name=text)
    if text[-1].isalnum():
        text += '?' if _QUESTION.match(text) else '.'
    return f'{text} Please output segmentation mask.'
