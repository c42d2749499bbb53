"""From requests to the model's input batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..datasets import prompts
from ..datasets.collate import stack_images
from ..datasets.conversation import Turn, encode, render
from ..datasets.tokenizer import build_tokenizer, count_masks
from ..datasets.transforms import ResizeForMaskDecoder, ResizeForVisionTower
from ..datasets.transforms.packing import pack_images
from ..models import LISA
from ..models.batch import ModelInputs
from ..structures import SegDataSample
from ..tokens import IMAGE_PLACEHOLDER
from .asking import check_history, check_options, check_question, read_image
from .requests import ImageSource, Request


@dataclass(frozen=True)
class Seen:
    """An image as the model takes it.

    Args:
        key: Equal for equal pixels.
        results: ``img`` (H, W, 3), its sizes, and the inputs of vision tower and mask decoder.
    """

    key: bytes
    results: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A request that is known to be sound.

    Args:
        request: The request.
        image: Its image.
        asked: The question as the model reads it, without the image.
        ids: (L,) int64, the prompt.
        earlier: Masks in its history.
    """

    request: Request
    image: Seen
    asked: str
    ids: Tensor
    earlier: int


class Preparer:
    """Reads images and encodes prompts for a model.

    Args:
        model: The model.
        load: The pipeline's step that reads images.
    """

    def __init__(self, model: LISA, load: Any):
        self.load = load
        mllm = model.mllm
        self.spec = mllm.tokenizer_spec
        self.tokenizer = build_tokenizer(**self.spec)
        self.num_image_tokens = None if mllm.tokens_by_image else mllm.num_image_tokens(0, 0)
        self.steps = [ResizeForVisionTower(mllm.preprocess), ResizeForMaskDecoder(model.mask_decoder.preprocess)]
        self._last: Seen | None = None

    def prepare(self, request: Request, image: Seen | None = None) -> Prepared:
        """Check a request, read its image and encode its prompt.

        Args:
            request: The request.
            image: Its image, if it was read before.

        Raises:
            DataError: for a question that is empty or holds tokens of the model's, an unreadable image or another array, or
                options that contradict each other.
        """
        check_question(request.question, self.spec)
        check_options(request.options)
        history = check_history(request.history, self.spec)
        asked = request.question if request.raw else prompts.request_mask(request.question)
        image = image or self.look_at(request.image)
        turns: list[Turn] = [*history, (asked, None)]
        turns[0] = (f'{IMAGE_PLACEHOLDER}\n{turns[0][0]}', turns[0][1])
        ids, _ = encode(
            render(turns, self.spec['template'], self.tokenizer),
            self.tokenizer,
            num_image_tokens=self.num_image_tokens,
            image_ids=image.results.get('image_ids'),
            wrap_image=self.spec['wrap_image'],
        )
        earlier = sum(count_masks(answer or '', self.spec['mask_tokens']) for _, answer in history)
        return Prepared(request, image, asked, ids, earlier)

    def look_at(self, image: ImageSource) -> Seen:
        """Read and resize an image; the last one is kept."""
        results = read_image(image, self.load)
        pixels = results['img']
        key = hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes()).digest()
        last = self._last
        if last is not None and last.key == key:
            return Seen(key, {**last.results, 'sample_id': results['sample_id'], 'img_path': results['img_path']})
        for step in self.steps:
            results = step(results)
        self._last = Seen(key, results)
        return self._last


@dataclass(frozen=True)
class Batch:
    """Requests as one batch: each image once, the rows of an image side by side.

    Args:
        rows: The requests in the order of the rows.
        places: Of each row, its number among the given requests.
        images: The images.
        inputs: See :class:`lisa_mm.models.batch.ModelInputs`, without labels.
        samples: One per image.
    """

    rows: list[Prepared]
    places: list[int]
    images: list[Seen]
    inputs: ModelInputs
    samples: list[SegDataSample]


def join(prepared: Sequence[Prepared], pad_token_id: int) -> Batch:
    """One batch of several requests."""
    images = {one.image.key: one.image for one in prepared}
    numbers = {key: number for number, key in enumerate(images)}
    places = sorted(range(len(prepared)), key=lambda place: numbers[prepared[place].image.key])
    rows = [prepared[place] for place in places]
    lengths = torch.tensor([len(row.ids) for row in rows])
    input_ids = pad_sequence([row.ids for row in rows], batch_first=True, padding_value=pad_token_id)
    inputs: Any = {
        **stack_images([pack_images(image.results) for image in images.values()]),
        'input_ids': input_ids,
        'attention_mask': torch.arange(input_ids.shape[1])[None] < lengths[:, None],
        'image_index': torch.tensor([numbers[row.image.key] for row in rows]),
    }
    sizes = ('sample_id', 'original_size', 'resized_size')
    samples = [SegDataSample(metainfo={key: image.results[key] for key in sizes}) for image in images.values()]
    return Batch(rows, places, list(images.values()), inputs, samples)
