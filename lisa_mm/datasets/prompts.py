"""Question and answer strings of the published recipe; released weights depend on them."""

from __future__ import annotations

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
