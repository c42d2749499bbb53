"""CLIP's image tower as LLaVA uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from ...errors import CheckpointError, ConfigError
from ...registry import BACKBONES
from ..base import BaseVisionTower
from ..weights import check_architecture, on_meta

# OpenAI's CLIP, https://github.com/openai/CLIP
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@BACKBONES.register_module()
class CLIPVisionTower(BaseVisionTower):
    """Patch features of a hidden layer of CLIP, without the class token (LLaVA).

    Args:
        pretrained: A Hugging Face CLIP folder (two towers or the image tower alone), or None.
        config: The image tower's architecture (``CLIPVisionConfig`` keys); needed when ``pretrained`` is None. Beside
            ``pretrained`` it lets a config be checked before the folder is there, and must agree with it.
        layer: Which hidden state is taken; -2 as in LLaVA.
        full_view: False crops the middle of a non-square image as CLIP does; True squeezes the whole image into the square.
        frozen: Whether it is trained.

    Shapes:
        (B, 3, S, S) -> (B, (S / patch)^2, hidden)
    """

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        layer: int = -2,
        full_view: bool = False,
        frozen: bool = True,
    ):
        super().__init__(frozen=frozen)
        if pretrained is None and config is None:
            raise ConfigError('CLIPVisionTower needs pretrained=FOLDER or config=dict(hidden_size=..., ...).')
        self.from_file = pretrained is not None
        self.layer = layer
        self.full_view = full_view
        folder = Path(pretrained) if pretrained else None
        if folder and not (folder / 'config.json').is_file() and not (on_meta() and config):
            raise CheckpointError(f'vision_tower.pretrained: {folder} holds no config.json. Give a Hugging Face CLIP folder.')
        if folder and config and (folder / 'config.json').is_file():
            found = CLIPVisionConfig.from_pretrained(folder).to_dict()
            check_architecture(config, found, 'model.mllm.vision_tower', folder)
        if folder and not on_meta():
            self.model, report = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)  # type: ignore
            missing = sorted(report['missing_keys']) + sorted(map(str, report['mismatched_keys']))
            if missing:
                raise CheckpointError(f'{folder}: {len(missing)} weights of the image tower are missing, e.g. {missing[0]}.')
        else:
            written = CLIPVisionConfig(**config) if config else CLIPVisionConfig.from_pretrained(folder)
            self.model = CLIPVisionModel(written)

    @property
    def out_channels(self) -> int:
        return self.model.config.hidden_size

    @property
    def preprocess(self) -> dict[str, Any]:
        side = self.model.config.image_size
        size = {'height': side, 'width': side} if self.full_view else {'shortest_edge': side}
        return {
            'size': size,
            'crop_size': {'height': side, 'width': side},
            'do_center_crop': not self.full_view,
            'image_mean': CLIP_MEAN,
            'image_std': CLIP_STD,
        }

    def num_tokens(self, height: int, width: int) -> int:
        del height, width  # every image is brought to one size
        return (self.model.config.image_size // self.model.config.patch_size) ** 2  # type: ignore

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states = self.model(pixel_values=pixels, output_hidden_states=True).hidden_states
        return states[self.layer][:, 1:]  # (B, N, C)
