"""Processors of whole multimodal models: an image's inputs, and the tokens it takes in a row."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

from ..errors import CheckpointError, ConfigError
from ..file_kinds import check_tokenizer_files, library_words
from ..structures import ProcessorImageSpec
from ..tokens import IMAGE_TOKEN_ID
from .images import MAX_PIXELS

OF_THE_TEXT = ('input_ids', 'attention_mask', 'mm_token_type_ids', 'token_type_ids')
MARK = '@@question@@'


def process_image(spec: ProcessorImageSpec, image: np.ndarray) -> tuple[dict[str, Tensor], list[int]]:
    """Process an image with a model's own processor.

    Args:
        spec: ``preprocess`` of :class:`lisa_mm.models.mllms.HFMLLM`.
        image: (H, W, 3) uint8 RGB.

    Returns:
        The model's inputs for this image, and the ids of its tokens: -200 for each feature, other ids around and between.

    Raises:
        ValueError: if the processor has a limit that the image's size is beyond.
    """
    processor = load_processor(spec['processor'])
    options = dict(spec.get('image_options') or {})
    check_size(getattr(processor, 'image_processor', None), *image.shape[:2], **options)
    usual = image_text(spec['processor'])
    text = spec.get('image_text') or usual

    def process(text: str) -> Any:
        return processor(
            text=[text],
            images=[Image.fromarray(image)],
            return_tensors='pt',
            text_kwargs={'add_special_tokens': False},
            images_kwargs=options,
        )

    try:
        out = process(text)
    except ValueError as error:
        if text == usual:
            raise
        process(usual)  # raises if the image is at fault
        raise ConfigError(
            f'mllm.image_text {text!r} does not suit the processor {spec["processor"]} ({error}). Leave it out: {usual!r} fits.'
        ) from error
    ids = [IMAGE_TOKEN_ID if token == spec['image_token_id'] else token for token in out['input_ids'][0].tolist()]
    if IMAGE_TOKEN_ID not in ids:
        raise ConfigError(
            f'mllm.image_text {text!r} gives no image token (id {spec["image_token_id"]}) with the processor of '
            f'{spec["processor"]}. Set image_text to what stands for an image there.'
        )
    return {key: value for key, value in out.items() if key not in OF_THE_TEXT}, ids


def check_size(processor: Any, height: int, width: int, **options: Any) -> None:
    """Raise a ValueError if an image processor would make too large an image of a narrow one before it cuts out the middle.

    Args:
        processor: An image processor of transformers.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        options: What is passed to the processor besides.
    """
    if not options.get('do_center_crop', getattr(processor, 'do_center_crop', False)):
        return
    size = options.get('size') or processor.size
    edge = size.get('shortest_edge') or 0
    short, long = sorted((height, width))
    if edge * edge * long > MAX_PIXELS * short:
        raise ValueError(f'it is scaled to {edge} x {edge * long // short} pixels before its middle is cut out')


@lru_cache(maxsize=4)
def load_processor(folder: str) -> Any:
    """Load the processor of a folder.

    Raises:
        CheckpointError: if the folder holds no processor.
    """
    if not Path(folder).is_dir():
        raise CheckpointError(f'processor: {folder} is no folder. Give the folder of the whole model or of its processor.')
    check_tokenizer_files(Path(folder))
    try:
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{folder} holds no readable processor ({library_words(error)}).') from None


@lru_cache(maxsize=4)
def image_text(folder: str) -> str:
    """A chat template's text for an image, e.g. ``<|vision_start|><|image_pad|><|vision_end|>``; or the image token."""
    processor = load_processor(folder)
    if not getattr(processor, 'chat_template', None):
        return str(processor.image_token)
    question = {'type': 'text', 'text': MARK}
    texts = [
        str(processor.apply_chat_template([{'role': 'user', 'content': content}], tokenize=False))
        for content in ([{'type': 'image'}, question], [question])
    ]
    before, _, _ = texts[0].partition(MARK)
    without, _, _ = texts[1].partition(MARK)
    shared = next((i for i, (a, b) in enumerate(zip(before, without, strict=False)) if a != b), min(len(before), len(without)))
    rest = without[shared:]
    added = before[shared : len(before) - len(rest)] if rest and before.endswith(rest) else before[shared:]
    return added.strip() or str(processor.image_token)


@lru_cache(maxsize=256)
def _blank_tokens(spec: str, height: int, width: int) -> int:
    ids = process_image(json.loads(spec), np.zeros((height, width, 3), dtype=np.uint8))[1]
    return sum(token == IMAGE_TOKEN_ID for token in ids)


def blank_image_tokens(spec: ProcessorImageSpec, height: int, width: int) -> int:
    """Number of feature tokens for an image of this size."""
    return _blank_tokens(json.dumps(spec, sort_keys=True), height, width)
