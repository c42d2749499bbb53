"""A multimodal LLM composed of a vision tower, a projector and a language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...registry import BACKBONES, LANGUAGE_MODELS, MLLMS, PROJECTORS
from ...sharding import is_sharded
from ...structures import TokenizerSpec, TowerImageSpec
from ...tokens import IMAGE_TOKEN_ID
from ..base import (
    BaseLanguageModel,
    BaseMLLM,
    BaseProjector,
    BaseVisionTower,
    GenerateOutput,
    MLLMOutput,
    Part,
    TrainableGroup,
)
from ..batch import ModelInputs
from ..batch_layout import layout_of, rows_to_share
from ..frozen_features import complete_features, is_cached
from ..shared_prefix import run_shared
from ..weights import is_trained
from ..widths import with_derived


@MLLMS.register_module()
class LlavaMLLM(BaseMLLM):
    """LLaVA: an image's projected patch features replace its tokens in the row.

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
    def decoder(self) -> nn.Module:
        return self.language_model.decoder

    def input_embeddings(self) -> nn.Module:
        return self.language_model.input_embeddings()

    def output_embeddings(self) -> nn.Module:
        return self.language_model.output_embeddings()

    @property
    def written(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleVariableOverride] - its language model's
        return self.language_model.written

    @property
    def quantization(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleVariableOverride] - its language model's
        return self.language_model.quantization

    @property
    def share_prefix(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - its language model's
        return self.language_model.share_prefix

    @property
    def hidden_size(self) -> int:
        return self.language_model.hidden_size

    @property
    def preprocess(self) -> TowerImageSpec:
        return self.vision_tower.preprocess

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        return self.language_model.tokenizer_spec

    def num_image_tokens(self, height: int, width: int) -> int:
        return self.vision_tower.num_tokens(height, width)

    @property
    def frozen_encoder(self) -> nn.Module | None:
        return self.vision_tower

    def encoder_features(self, pixels: Tensor) -> Tensor:
        return self.vision_tower(pixels)

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, S, S) -> image tokens (B, N, D)."""
        return self._project(self.encoder_features(pixel_values))

    def image_tokens(self, inputs: ModelInputs, count: int | None = None) -> Tensor:
        """Image tokens (n, N, D) of the first ``count`` images of the batch, by default of all."""
        if is_cached('vision_tower', inputs):
            assert 'cached' in inputs
            numbers = list(range(len(inputs['cached']['keys'])))[:count]
            return self._project(complete_features('vision_tower', self, inputs, numbers)['features'])
        assert 'pixel_values' in inputs
        return self.encode_image(inputs['pixel_values'][:count])

    def _project(self, features: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, D)."""
        with torch.set_grad_enabled(self._vision_trains()):
            return self.projector(features)

    def _vision_trains(self) -> bool:
        return torch.is_grad_enabled() and (is_trained(self.vision_tower) or is_trained(self.projector))

    def embed(self, inputs: ModelInputs) -> Tensor:
        input_ids, layout = inputs['input_ids'], layout_of(inputs)  # (R, L)
        embeds = self.language_model.embed(input_ids.masked_fill(input_ids == IMAGE_TOKEN_ID, 0))  # (R, L, D)
        counts = {count for count in layout.image_tokens if count}
        if counts:
            tokens = self.image_tokens(inputs)[layout.images_shown]  # (n, N, D)
            if counts != {tokens.shape[1]}:
                raise ValueError(
                    f'rows hold {sorted(counts)} image placeholders, but an image gives {tokens.shape[1]} tokens: '
                    'the tokenizer was told another number (num_image_tokens), or a row was cut inside its image.'
                )
            flat = embeds.flatten(0, 1).index_copy(0, layout.image_places, tokens.flatten(0, 1).to(embeds.dtype))
            return flat.view_as(embeds)
        if self._vision_trains() or is_sharded(self):  # other processes may show images: run what they run
            embeds = embeds + self.image_tokens(inputs, 1).sum().to(embeds.dtype) * 0
        return embeds

    def forward(self, inputs: ModelInputs, keep: Tensor) -> MLLMOutput:
        embeds = self.embed(inputs)
        shared = rows_to_share(inputs) if self.share_prefix else None
        if shared is None:
            return self.language_model(embeds, inputs['attention_mask'], keep)
        return run_shared(self.language_model, embeds, shared, keep)

    def generate(self, inputs: ModelInputs, **options: object) -> list[GenerateOutput]:
        embeds, layout = self.embed(inputs), layout_of(inputs)
        lengths = layout.lengths
        if layout.shared is not None and self.language_model.shares_answers(options):
            rows = self.language_model.generate_shared(embeds, layout.shared, lengths, **options)
        else:
            rows = self.language_model.generate(embeds, inputs['attention_mask'], **options)
        return [
            GenerateOutput(torch.cat([ids[:length], new]), states)
            for ids, length, (new, states) in zip(inputs['input_ids'], lengths, rows, strict=True)
        ]
