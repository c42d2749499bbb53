"""Ask an image a question."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..datasets import images
from ..datasets.collate import stack_images
from ..datasets.conversation import Turn, encode, render, stop_ids
from ..datasets.tokenizer import build_tokenizer, check_tokens
from ..datasets.transforms import ResizeForMaskDecoder, ResizeForVisionTower
from ..datasets.transforms.packing import pack_images
from ..models.base import ImageEmbeddings
from ..structures import SegDataSample
from ..tokens import IMAGE_TOKEN_ID
from .asking import check_folder, check_history, check_number_of_tokens, check_question, free_stem, read_image
from .loading import ReadyModel, prepare_model, resolve


@dataclass
class Answer:
    """The model's answer.

    Args:
        text: The answer, with its ``[SEG]``.
        masks: (K, H, W) bool, one per ``[SEG]``; masks of earlier turns come first.
        mask_logits: (K, H, W) float32.
    """

    text: str
    masks: np.ndarray
    mask_logits: np.ndarray


@dataclass
class _Seen:
    """The last image, prepared and encoded for the next question about it."""

    key: bytes
    results: dict[str, Any]
    embeddings: ImageEmbeddings | None = None


class LISAInferencer:
    """Answers questions about images with a model in eval mode. Consecutive questions about an image encode it once.

    Args:
        target: A config, or just a work folder; or what :func:`.loading.prepare_model` gave.
        checkpoint: A checkpoint; needed with a config.
        device: Device of the model; by default 'cuda' if available.
        dtype: 'float32', 'bfloat16' (half the memory; the original's default) or 'float16'.

    Example::

        inferencer = LISAInferencer('work_dirs/lisa_nano')  # after make train
        answer = inferencer('street.jpg', 'What could roll away?')
    """

    def __init__(
        self,
        target: str | Path | ReadyModel,
        checkpoint: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: str = 'float32',
    ):
        if not isinstance(target, ReadyModel):
            target = prepare_model(*resolve(target, checkpoint), device=device, dtype=dtype)
        self.model = target.load()
        self.device = next(self.model.parameters()).device
        mllm = self.model.mllm
        self.spec = mllm.tokenizer_spec
        self.tokenizer = build_tokenizer(**self.spec)
        self.num_image_tokens = None if mllm.tokens_by_image else mllm.num_image_tokens(0, 0)
        self.steps = [ResizeForVisionTower(mllm.preprocess), ResizeForMaskDecoder(self.model.mask_decoder.preprocess)]
        self._seen: _Seen | None = None

    def __call__(
        self,
        image: str | Path | Image.Image | np.ndarray,
        question: str,
        *,
        history: list[Turn] | None = None,
        max_new_tokens: int = 64,
        **options: object,
    ) -> Answer:
        """Answer one question.

        Args:
            image: A file, an image of Pillow, or (H, W, 3) uint8 RGB.
            question: The question; the image goes before the first one.
            history: Earlier questions and answers about this image.
            max_new_tokens: Maximum number of new tokens.
            options: Arguments of transformers' ``generate``.

        Raises:
            DataError: for a question that is empty or holds tokens of the model's, an unreadable image or another array.
        """
        check_question(question, self.spec)
        check_number_of_tokens(max_new_tokens)
        history = check_history(history or [], self.spec)
        seen = self._look_at(image)
        results = seen.results
        turns: list[Turn] = [*history, (question, None)]
        turns[0] = ('<image>\n' + turns[0][0], turns[0][1])
        segments = render(turns, self.spec['template'], self.tokenizer)
        ids, _ = encode(
            segments,
            self.tokenizer,
            num_image_tokens=self.num_image_tokens,
            image_ids=results.get('image_ids'),
            wrap_image=self.spec['wrap_image'],
        )
        sample = SegDataSample(metainfo={key: results[key] for key in ('sample_id', 'original_size', 'resized_size')})
        batch = {
            'inputs': {
                **stack_images([pack_images(results)]),
                'input_ids': ids[None],
                'attention_mask': torch.ones_like(ids, dtype=torch.bool)[None],
                'image_index': torch.zeros(1, dtype=torch.long),
            },
            'data_samples': [sample],
        }
        batch = self.model.data_preprocessor(batch)

        def encode_once(pixels: torch.Tensor) -> ImageEmbeddings:
            embeddings = seen.embeddings or self.model.mask_decoder.encode_image(pixels)
            seen.embeddings = embeddings
            return embeddings

        output, logits = self.model.answer(
            batch['inputs'],
            sample,
            encode=encode_once,
            max_new_tokens=max_new_tokens,
            eos_token_id=stop_ids(self.spec['template'], self.tokenizer),
            pad_token_id=self.tokenizer.pad_token_id,
            **options,
        )
        return Answer(self._text(output.ids[len(ids) :]), (logits > 0).cpu().numpy(), logits.cpu().numpy())

    def _look_at(self, image: str | Path | Image.Image | np.ndarray) -> _Seen:
        results = read_image(image)
        pixels = results['img']
        key = hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes()).digest()
        if self._seen is None or self._seen.key != key:
            for step in self.steps:
                results = step(results)
            self._seen = _Seen(key, results)
        return self._seen

    def _text(self, ids: torch.Tensor) -> str:
        """Words, mask tokens and other answer tokens, without further special tokens."""
        own = self.tokenizer.convert_tokens_to_ids(check_tokens(self.spec['mask_tokens'], self.spec['answer_tokens']))
        special = set(self.tokenizer.all_special_ids) - set(own)  # pyright: ignore[reportArgumentType] - a list has a list of ids
        kept = [token for token in ids.tolist() if token not in special and token != IMAGE_TOKEN_ID]
        return str(self.tokenizer.decode(kept)).strip()


def save_answer(answer: Answer, image: str | Path, folder: str | Path) -> list[Path]:
    """Write the masks as PNG (0 and 255) and an overlay; files of other answers stay as they are.

    Returns:
        The files: ``<image>_mask_<k>.png`` for each mask, then ``<image>_overlay.png``; where such files are there already,
        ``<image>_2_mask_<k>.png`` and so on.
    """
    from ..visualization import draw_overlay

    folder = check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = free_stem(folder, Path(image).stem)
    files = []
    drawn = images.read_image(image)
    colors = ((220, 40, 40), (40, 120, 220), (40, 180, 80), (230, 160, 30))
    for k, mask in enumerate(answer.masks):
        path = folder / f'{stem}_mask_{k}.png'
        _write_new(path, mask.astype(np.uint8) * 255)
        files.append(path)
        drawn = draw_overlay(drawn, mask, colors[k % len(colors)])
    overlay = folder / f'{stem}_overlay.png'
    _write_new(overlay, drawn)
    return [*files, overlay]


def _write_new(path: Path, pixels: np.ndarray) -> None:
    with path.open('xb') as file:  # another process may have taken the name since
        Image.fromarray(pixels).save(file, 'PNG')
