"""A multimodal LLM put together from a vision tower, a projector and a language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...registry import BACKBONES, LANGUAGE_MODELS, MLLMS, PROJECTORS
from ..base import (
    IMAGE_TOKEN_ID,
    BaseLanguageModel,
    BaseMLLM,
    BaseProjector,
    BaseVisionTower,
    GenerateOutput,
    MLLMOutput,
    Part,
    TrainableGroup,
)
from ..weights import is_sharded, is_trained
from ..widths import with_derived
from .shared_prefix import run_shared, share_rows


@MLLMS.register_module()
class LlavaMLLM(BaseMLLM):
    """LLaVA: the projected patch features of an image take the place of its tokens in the row.

    Args:
        vision_tower: ``dict(type='CLIPVisionTower', ...)``.
        projector: ``dict(type='LinearProjector')``; its widths are derived.
        language_model: ``dict(type='CausalLM', ...)``.
    """

    def __init__(self, vision_tower: dict[str, Any], projector: dict[str, Any], language_model: dict[str, Any]):
        super().__init__()
        self.vision_tower: BaseVisionTower = BACKBONES.build(vision_tower)
        self.language_model: BaseLanguageModel = LANGUAGE_MODELS.build(language_model)
        widths = {'in_channels': self.vision_tower.out_channels, 'out_channels': self.language_model.hidden_size}
        sources = {'in_channels': 'model.mllm.vision_tower', 'out_channels': 'model.mllm.language_model'}
        self.projector: BaseProjector = PROJECTORS.build(with_derived(projector, widths, 'model.mllm.projector', sources))

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        return {'vision_tower': self.vision_tower, 'projector': self.projector, 'language_model': self.language_model}

    @property
    def causal_lm(self) -> PreTrainedModel:
        return self.language_model.model

    @property
    def hidden_size(self) -> int:
        return self.language_model.hidden_size

    @property
    def preprocess(self) -> dict[str, Any]:
        return self.vision_tower.preprocess

    @property
    def tokenizer_spec(self) -> dict[str, Any]:
        return self.language_model.tokenizer_spec

    def num_image_tokens(self, height: int, width: int) -> int:
        return self.vision_tower.num_tokens(height, width)

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, S, S) -> image tokens (B, N, D)."""
        features = self.vision_tower(pixel_values)  # (B, N, C)
        with torch.set_grad_enabled(self._vision_trains()):
            return self.projector(features)

    def _vision_trains(self) -> bool:
        return torch.is_grad_enabled() and (is_trained(self.vision_tower) or is_trained(self.projector))

    def embed(self, inputs: dict[str, Tensor]) -> Tensor:
        input_ids = inputs['input_ids']  # (R, L)
        image_positions = input_ids == IMAGE_TOKEN_ID
        embeds = self.language_model.embed(input_ids.masked_fill(image_positions, 0))  # (R, L, D)
        rows = image_positions.any(1)
        if rows.any():
            tokens = self.encode_image(inputs['pixel_values'])[inputs['image_index'][rows]]  # (rows, N, D)
            counts = image_positions[rows].sum(1)
            if (counts != tokens.shape[1]).any():
                raise ValueError(
                    f'rows hold {sorted(set(counts.tolist()))} image placeholders, but an image gives {tokens.shape[1]} tokens: '
                    'the tokenizer was told another number (num_image_tokens), or a row was cut inside its image.'
                )
            return embeds.masked_scatter(image_positions[..., None], tokens.to(embeds.dtype))
        if self._vision_trains() or is_sharded(self):  # other processes may show images: what they run together must run here too
            embeds = embeds + self.encode_image(inputs['pixel_values'][:1]).sum().to(embeds.dtype) * 0
        return embeds

    def forward(self, inputs: dict[str, Tensor], keep: Tensor) -> MLLMOutput:
        embeds = self.embed(inputs)
        if not self.language_model.share_prefix:
            return self.language_model(embeds, inputs['attention_mask'], keep)
        shared = share_rows(inputs['input_ids'], inputs['attention_mask'], inputs['image_index'])
        return run_shared(self.language_model, embeds, shared, keep)

    def generate(self, inputs: dict[str, Tensor], **options: Any) -> GenerateOutput:
        new, states = self.language_model.generate(self.embed(inputs), **options)
        return GenerateOutput(torch.cat([inputs['input_ids'][0], new]), states)
