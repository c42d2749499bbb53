"""Check that a part's results have the form declared by its role's base class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..models import LISA
from ..models.base import (
    BaseImageEncoder,
    BaseLanguageModel,
    BaseLoss,
    BaseMaskDecoder,
    BaseMLLM,
    BaseProjector,
    BaseSegHead,
    BaseVisionTower,
    GenerateOutput,
)
from ..models.batch import LossInputs, ModelInputs
from ..models.losses import MaskLoss
from ..structures import SegDataSample

NEW = 4  # number of tokens to generate


def form_faults(part: nn.Module, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    """Sentences on whatever has another form; the model is in eval mode, without gradients.

    Args:
        part: A part of the model, or the model.
        model: A LISA that contains the part.
        inputs: A batch with rows of unequal lengths, with and without masks and image.
        samples: Data samples of the batch.
    """
    for base, faults in (
        (BaseMLLM, _mllm),
        (BaseVisionTower, _vision_tower),
        (BaseProjector, _projector),
        (BaseLanguageModel, _language_model),
        (BaseSegHead, _seg_head),
        (BaseMaskDecoder, _mask_decoder),
        (BaseImageEncoder, _image_encoder),
        (BaseLoss, _loss),
    ):
        if isinstance(part, base):
            with torch.no_grad():
                yield from faults(part, model, inputs, samples)  # pyright: ignore[reportArgumentType] - of this base


def _shape(what: str, got: object, wanted: tuple[int, ...], dtype: torch.dtype | None = None) -> Iterator[str]:
    if not isinstance(got, Tensor):
        yield f'{what} is a {type(got).__name__}, where a tensor {wanted} is wanted'
    elif tuple(got.shape) != wanted:
        yield f'{what} has shape {tuple(got.shape)}, where {wanted} is wanted'
    elif dtype is not None and got.dtype != dtype:
        yield f'{what} is {got.dtype}, where {dtype} is wanted'


def _matrices(part: BaseMLLM | BaseLanguageModel) -> Iterator[str]:
    width = part.hidden_size
    for name in ('input_embeddings', 'output_embeddings'):
        module = getattr(part, name)()
        weight: Any = getattr(module, 'weight', None)
        if not isinstance(module, nn.Module) or not isinstance(weight, Tensor):
            yield f'{name}() gives a {type(module).__name__}, where a module with a matrix .weight is wanted'
        elif weight.dim() != 2 or weight.shape[1] != width:
            yield f'{name}().weight has shape {tuple(weight.shape)}, where (V, hidden_size={width}) is wanted'
    if not any(layer is not part.output_embeddings() for layer in part.decoder.modules() if isinstance(layer, nn.Linear)):
        yield f'decoder, a {type(part.decoder).__name__}, holds no nn.Linear beside the head: model.lora would have no place'


def _mllm(part: BaseMLLM, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    rows, length = inputs['input_ids'].shape
    yield from _matrices(part)
    yield from _shape('embed(inputs)', part.embed(inputs), (rows, length, part.hidden_size))
    keep = torch.tensor([1, length, length + 2])
    out = part(inputs, keep)
    yield from _shape('forward(inputs, keep).hidden_states', out.hidden_states, (rows, length, part.hidden_size))
    yield from _shape('forward(inputs, keep).logits', out.logits, (3, part.vocab_size))
    answers = part.generate(inputs, max_new_tokens=NEW)
    if len(answers) != rows or not all(isinstance(answer, GenerateOutput) for answer in answers):
        yield f'generate(inputs) gives {len(answers)} answers for {rows} rows, where a GenerateOutput per row is wanted'
        return
    for row, (answer, attended) in enumerate(zip(answers, inputs['attention_mask'].sum(1).tolist(), strict=True)):
        new = len(answer.ids) - attended
        if not 1 <= new <= NEW or not torch.equal(answer.ids[:attended], inputs['input_ids'][row, :attended]):
            yield f'generate(inputs)[{row}].ids must begin with the {attended} ids of the row and go on by 1 to {NEW} new ones'
            return
        states = (len(answer.ids) - 1, part.hidden_size)
        yield from _shape(f'generate(inputs)[{row}].hidden_states', answer.hidden_states, states)


def _vision_tower(part: BaseVisionTower, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    assert 'pixel_values' in inputs
    pixels = inputs['pixel_values'][:2]
    wanted = (len(pixels), part.num_tokens(*samples[0].original_size), part.out_channels)
    yield from _shape(f'forward of pixels {tuple(pixels.shape)}', part(pixels), wanted)


def _projector(part: BaseProjector, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    mllm: Any = model.mllm
    features = torch.randn(2, 5, mllm.vision_tower.out_channels)
    yield from _shape(f'forward of features {tuple(features.shape)}', part(features), (2, 5, mllm.hidden_size))


def _language_model(part: BaseLanguageModel, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    yield from _matrices(part)
    ids = torch.arange(10, 22).view(2, 6)
    embeds = part.embed(ids)
    yield from _shape('embed of ids (2, 6)', embeds, (2, 6, part.hidden_size))
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False  # on the right
    out = part(embeds, mask, torch.tensor([1, 7]))
    yield from _shape('forward(...).hidden_states', out.hidden_states, (2, 6, part.hidden_size))
    yield from _shape('forward(...).logits', out.logits, (2, part.vocab_size))
    changed = torch.cat([embeds[:, :5], embeds[:, 5:] + 1], dim=1)
    if not torch.allclose(part(changed, mask, torch.tensor([1, 7])).hidden_states[:, :4], out.hidden_states[:, :4], atol=1e-5):
        yield 'forward: a later token changes the states of earlier ones; attention must be causal and leave padding out'
    answers = part.generate(embeds, mask, max_new_tokens=NEW)
    if len(answers) != 2:
        yield f'generate gives {len(answers)} answers for 2 rows'
        return
    for row, (length, (new, states)) in enumerate(zip((6, 4), answers, strict=True)):
        if not 1 <= len(new) <= NEW:
            yield f'generate(...)[{row}] has {len(new)} new ids, where 1 to {NEW} are wanted (max_new_tokens={NEW})'
        yield from _shape(f'the states of generate(...)[{row}]', states, (length + len(new) - 1, part.hidden_size))


def _seg_head(part: BaseSegHead, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    ids = torch.tensor([[1, 8, 9, 8], [1, 2, 3, 4]])
    prompts = part(torch.randn(2, 4, model.mllm.hidden_size), ids, 8)
    if len(prompts) != 2:
        yield f'forward gives {len(prompts)} tensors for 2 rows, where one per row is wanted'
        return
    for row, count in ((0, 2), (1, 0)):
        wanted = (count, model.mask_decoder.prompt_dim)
        yield from _shape(f'forward(...)[{row}], a row with {count} mask tokens,', prompts[row], wanted)


def _mask_decoder(part: BaseMaskDecoder, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    assert 'mask_images' in inputs
    images = inputs['mask_images'][:3]
    prompts = [torch.randn(count, part.prompt_dim) for count in (2, 0, 1)]
    low = part(part.encode_image(images), prompts)
    if [len(logits) for logits in low] != [2, 0, 1] or low[0].dim() != 3:
        yield f'forward for 2, 0 and 1 prompts gives {[tuple(logits.shape) for logits in low]}, where (K, h, w) is wanted'
        return
    for logits, count in zip(low, (2, 0), strict=False):
        sample = samples[0]
        masks = part.upscale(logits, sample.resized_size, sample.original_size)
        yield from _shape(f'upscale of {count} masks', masks, (count, *sample.original_size), torch.float32)


def _image_encoder(part: BaseImageEncoder, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    for name in ('image_size', 'patch_size'):
        if not isinstance(getattr(part, name, None), int):
            yield f'{name} is not set: the constructor must set it, in pixels'
            return
    side = part.image_size // part.patch_size
    features = part(torch.randn(2, 3, part.image_size, part.image_size)).features
    yield from _shape('forward(...).features', features, (2, part.out_channels, side, side))


def _loss(part: BaseLoss, model: LISA, inputs: ModelInputs, samples: list[SegDataSample]) -> Iterator[str]:
    computed = model.tensor(inputs, samples)
    targets: list[Tensor] = [sample.gt_masks.to(m.dtype) for sample, m in zip(samples, computed['mask_logits'], strict=True)]
    with_masks: LossInputs = {**computed, 'mask_targets': targets}
    none = [logits[:0] for logits in computed['mask_logits']]
    without: LossInputs = {**computed, 'mask_logits': none, 'mask_targets': none, 'prompts': [p[:0] for p in computed['prompts']]}
    for what, outputs in (('masks', with_masks), ('no masks', without)):
        value = part(outputs, samples)
        yield from _shape(f'forward of a batch with {what}', value, ())
        if isinstance(value, Tensor) and not value.isfinite().all():
            yield f'forward of a batch with {what} is {value.item()}: it must be finite'
    if isinstance(part, MaskLoss):
        logits, masks = torch.randn(2, 9, 7), (torch.rand(2, 9, 7) > 0.5).float()
        alone = [part.mask_loss(*(tensor[None] for tensor in pair)) for pair in zip(logits, masks, strict=True)]
        if not torch.allclose(part.mask_loss(logits, masks), sum(alone, torch.zeros(())) / 2, rtol=1e-4, atol=1e-6):
            yield (
                'mask_loss of two masks is not the mean of both alone, and an image may come in several calls. A loss of all '
                "masks together subclasses BaseLoss and reads outputs['mask_logits']"
            )
