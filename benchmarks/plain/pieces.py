"""Plain versions of what training and validation compute. Each function replaces one method of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lisa_mm.evaluation.seg_iou import SegIoUMetric
from lisa_mm.models import LISA
from lisa_mm.models.base import ImageEmbeddings
from lisa_mm.models.batch import ModelInputs
from lisa_mm.models.batch_layout import BatchLayout, layout_of
from lisa_mm.models.losses import MaskDiceLoss
from lisa_mm.models.mask_decoders import SAMMaskDecoder
from lisa_mm.models.mllms import LlavaMLLM
from lisa_mm.structures import SegDataSample
from lisa_mm.tokens import IGNORE_INDEX, IGNORED, IMAGE_TOKEN_ID


def embed_by_row(self: LlavaMLLM, inputs: ModelInputs) -> Tensor:
    """``LlavaMLLM.embed``: each row has a copy of its image, which goes through the vision tower once per row."""
    ids = inputs['input_ids']
    is_image = ids == IMAGE_TOKEN_ID
    embeds = self.language_model.embed(ids.masked_fill(is_image, 0))
    rows = is_image.any(1)
    if not rows.any():
        return embeds
    assert 'pixel_values' in inputs
    tokens = self.encode_image(inputs['pixel_values'][inputs['image_index'][rows]])  # (n, N, D)
    return embeds.masked_scatter(is_image[..., None], tokens.to(embeds.dtype))


def encode_one_by_one(self: SAMMaskDecoder, pixels: Tensor) -> ImageEmbeddings:
    """Replaces ``SAMMaskDecoder.encode_image``: the encoder sees one image per call."""
    return ImageEmbeddings(torch.cat([self.image_encoder(image[None]).features for image in pixels]), {})


def layout_with_all_logits(self: LISA, inputs: ModelInputs) -> BatchLayout:
    """``LISA.layout_of``: logits at every position; the loss leaves out those without a label."""
    layout = layout_of(inputs, self.mask_token_ids, share_prefix=self.mllm.share_prefix)
    ids = inputs['input_ids']
    labels = inputs.get('labels', torch.full_like(ids, IGNORE_INDEX))
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX).flatten()
    return replace(layout, label_places=torch.arange(ids.numel(), device=ids.device), labels=following)


def decode_by_repeating(self: SAMMaskDecoder, embeddings: ImageEmbeddings, prompts: list[Tensor]) -> list[Tensor]:
    """``SAMMaskDecoder.forward``: the released decoder image by image, with a copy of the features and four masks per prompt."""
    position = self.prompt_encoder.get_dense_pe().to(embeddings.features.dtype)
    none = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    masks = []
    for image, prompt in zip(embeddings.features.split(1), prompts, strict=True):
        if not len(prompt):
            masks.append(prompt.new_zeros(0, 4 * image.shape[-2], 4 * image.shape[-1]))
            continue
        low_res, _ = self.decoder(
            image_embeddings=image,
            image_pe=position,
            sparse_prompt_embeddings=prompt[:, None],
            dense_prompt_embeddings=none.expand(len(prompt), -1, *image.shape[-2:]),
            multimask_output=False,
        )
        masks.append(low_res[:, 0])
    return masks


def full_masks(model: LISA, low_res: list[Tensor], samples: Sequence[SegDataSample]) -> list[Tensor]:
    """Mask logits (K, H, W) of each image, all of them in memory."""
    return [
        model.mask_decoder.upscale(logits, sample.resized_size, sample.original_size)
        for logits, sample in zip(low_res, samples, strict=True)
    ]


def loss_of_full_masks(self: LISA, inputs: ModelInputs, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
    """``LISA.loss``: BCE and Dice over float maps of all masks at the images' size, which the graph keeps."""
    computed = self.segment(inputs, len(data_samples))
    logits = computed['word_logits'].float()
    ce = F.cross_entropy(logits, computed['word_targets'], ignore_index=IGNORE_INDEX)
    bce, dice = logits.new_zeros(()), logits.new_zeros(())
    total = 0
    dice_loss: Any = self.losses['dice']
    for masks, sample in zip(full_masks(self, computed['low_res_logits'], data_samples), data_samples, strict=True):
        targets = sample.gt_masks.float()
        count = len(targets)
        total += count
        pixels = F.binary_cross_entropy_with_logits(masks, targets, reduction='none').flatten(1, 2).mean(1)
        bce = bce + pixels.sum() / (count + 1e-8) * count
        dice = dice + dice_of(masks, targets, dice_loss) * count
    weights: dict[str, Any] = {key: loss.weight for key, loss in self.losses.items()}
    return {
        'loss_ce': ce * weights['ce'],
        'loss_mask_bce': bce / (total + 1e-8) * weights['bce'],
        'loss_mask_dice': dice / (total + 1e-8) * weights['dice'],
    }


def dice_of(logits: Tensor, targets: Tensor, loss: MaskDiceLoss) -> Tensor:
    """Dice of the masks of an image, (K, H, W) each -> the mean."""
    p, t = logits.sigmoid().flatten(1, 2), targets.flatten(1, 2)
    numerator = 2 * (p / loss.scale * t).sum(-1)
    denominator = (p / loss.scale).sum(-1) + (t / loss.scale).sum(-1)
    return (1 - (numerator + loss.eps) / (denominator + loss.eps)).sum() / (len(targets) + 1e-8)


@torch.no_grad()
def predict_logits(
    self: LISA, inputs: ModelInputs, data_samples: list[SegDataSample], *, binary: bool = False
) -> list[SegDataSample]:
    """``LISA.predict``: float logits of all masks, also where bits are wanted."""
    del binary
    low_res = self.segment(inputs, len(data_samples))['low_res_logits']
    for sample, masks in zip(data_samples, full_masks(self, low_res, data_samples), strict=True):
        sample.set_data({'mask_logits': masks})
    return data_samples


def count_by_histogram(self: SegIoUMetric, data_batch: object, data_samples: Sequence[SegDataSample]) -> None:
    """``SegIoUMetric.process``: pixels of each class by histograms, mask by mask."""
    del data_batch
    for sample in data_samples:
        fields = dict(sample.all_items())
        pairs = []
        for predicted, target in zip((fields['mask_logits'] > 0).int(), fields['gt_masks'].int(), strict=True):
            predicted = predicted.clone()
            predicted[target == IGNORED] = IGNORED
            same = predicted[predicted == target]
            common, said, wanted = (torch.histc(x.float(), bins=2, min=0, max=1) for x in (same, predicted, target))
            pairs.append((int(common[1]), int((said + wanted - common)[1])))
        self.results.append(pairs)
