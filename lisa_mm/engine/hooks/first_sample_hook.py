"""Logs how the first training sample looks to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from mmengine.hooks import Hook

from lisa_mm.datasets.conversation import mark_loss
from lisa_mm.registry import HOOKS
from lisa_mm.tokens import IGNORE_INDEX, IGNORED, IMAGE_TOKEN_ID

if TYPE_CHECKING:
    from mmengine.hooks.hook import DATA_BATCH
    from transformers import PreTrainedTokenizerBase

    from lisa_mm.engine.runner import LisaRunner

    from ...structures import SegDataSample, TokenizerSpec


@HOOKS.register_module()
class FirstSampleHook(Hook):
    """Logs the first image of a run's first batch, decoded from the model's inputs: a wrong template or label shows here.

    Tokens that carry loss appear in «...», image tokens as ``<image x 36>``.
    """

    def __init__(self) -> None:
        self._shown = False

    def before_train(self, runner: LisaRunner) -> None:
        """Every run shows its own first sample."""
        self._shown = False

    def before_train_iter(self, runner: LisaRunner, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Log the sample, once."""
        if self._shown or runner.rank != 0:
            return
        self._shown = True
        # lazy: engine tests and tools without this hook need not load transformers
        from lisa_mm.datasets.tokenizer import build_tokenizer

        model = getattr(runner.strategy, 'module', None) or runner.model
        spec: TokenizerSpec = cast('Any', model).mllm.tokenizer_spec
        assert isinstance(data_batch, dict)
        runner.logger.info(describe_first_sample(data_batch, build_tokenizer(**spec)))


def describe_first_sample(batch: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> str:
    """Describe the first image of a collated batch.

    Args:
        batch: A batch from :func:`lisa_mm.datasets.collate.seg_collate`.
        tokenizer: The model's tokenizer.

    Returns:
        Lines of text: the image, then its rows, then its masks.
    """
    inputs, sample = batch['inputs'], batch['data_samples'][0]
    shapes = ', '.join(f'{name} {tuple(inputs[name].shape[1:])}' for name in ('pixel_values', 'mask_images') if name in inputs)
    lines = [
        f'first sample: {sample.sample_id}',
        f'  image: {sample.get("img_path")}, {_size(sample.get("original_size"))} (height x width), '
        f'in the mask decoder {_size(sample.get("resized_size"))}; {shapes or "its features were on disk"}',
    ]
    rows = (inputs['image_index'] == 0).nonzero().flatten().tolist()
    for number, row in enumerate(rows, start=1):
        length = int(inputs['attention_mask'][row].sum())
        ids, labels = inputs['input_ids'][row, :length], inputs['labels'][row, :length]
        images, trained = int((ids == IMAGE_TOKEN_ID).sum()), int((labels != IGNORE_INDEX).sum())
        lines.append(f'  row {number} of {len(rows)}: {length} tokens ({images} of the image), {trained} with loss (in «»)')
        lines.append('    ' + mark_loss(ids, labels, tokenizer).replace('\n', '\\n'))
    masks = [
        f'{100 * area:.2f} %' + (f' ({100 * left_out:.2f} % ignored)' if left_out else '') for area, left_out in _areas(sample)
    ]
    lines.append(f'  masks: {len(masks)}' + (f', area {", ".join(masks)}' if masks else ''))
    return '\n'.join(lines)


def _areas(sample: SegDataSample) -> list[tuple[float, float]]:
    """For each mask, the shares of the image that are object and that are ignored."""
    masks = sample.get('gt_masks')
    if masks is None:
        return []
    return [(float(((mask > 0) & (mask != IGNORED)).float().mean()), float((mask == IGNORED).float().mean())) for mask in masks]


def _size(size: Sequence[int] | None) -> str:
    return 'unknown' if size is None else ' x '.join(str(int(side)) for side in size)
