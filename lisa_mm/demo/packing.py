"""The masks of a conversation as one file."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
from PIL import Image

from ..apis.answers import Answer
from ..drawing import draw_answer, mask_colors
from ..errors import DataError
from .talk import Talk


def pack(talk: Talk, model: str, threshold: float) -> bytes:
    """A zip file of a conversation's masks at full size.

    It holds ``mask_1.png`` and so on (0 and 255, in the order of the answers' ``[SEG]``), ``overlay.png`` and ``answer.json``
    with the conversation and, for each mask, its question, run lengths (COCO), box, scores and area.

    Args:
        talk: A conversation.
        model: The model's name.
        threshold: Probability above which a pixel belongs to a mask; 0.5 gives the answers' own masks.

    Raises:
        DataError: for a threshold that is no probability between 0 and 1, or a conversation without a mask.
    """
    if not 0 < threshold < 1:
        raise DataError(f'the threshold is {threshold}; give a probability above 0 and below 1, such as 0.5.')
    if not talk.layers or talk.image is None or talk.logits is None or talk.seg_logits is None:
        raise DataError('there is no mask yet. Ask for something first.')
    masks = talk.logits > np.log(threshold / (1 - threshold))
    answer = Answer(talk.exchanges[-1].text, masks, talk.logits, talk.seg_logits, image=talk.image, name=talk.name)
    files = {f'mask_{number}.png': png(mask.astype(np.uint8) * 255) for number, mask in enumerate(masks, 1)}
    # the colours of the page, which a threshold does not change
    files['overlay.png'] = png(draw_answer(talk.image, masks, mask_colors(talk.image, talk.logits > 0)))
    found = answer.to_dict()
    for number, (mask, layer) in enumerate(zip(found['masks'], talk.layers, strict=True), 1):
        mask.update(file=f'mask_{number}.png', question=layer.label, color=layer.color)
    told = [{'question': e.question, 'asked': e.asked, 'text': e.text} for e in talk.exchanges]
    kept = {key: found[key] for key in ('image', 'height', 'width', 'masks')}
    content = {'model': model, 'threshold': threshold, 'conversation': told, **kept}
    files['answer.json'] = json.dumps(content, indent=1, ensure_ascii=False).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def png(pixels: np.ndarray) -> bytes:
    """An image (H, W) or (H, W, 3) uint8 as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'PNG')
    return content.getvalue()
