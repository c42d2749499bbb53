"""CLIP's image tower as LLaVA uses it."""

from __future__ import annotations

from typing import Any

from ...registry import BACKBONES
from .hf_vision_tower import HFVisionTower


@BACKBONES.register_module()
class CLIPVisionTower(HFVisionTower):
    """Patch features of a hidden layer of CLIP, without the class token: :class:`HFVisionTower` with LLaVA's settings.

    Args:
        pretrained: A Hugging Face CLIP folder (two towers or the image tower alone), or None.
        config: The image tower's architecture (``CLIPVisionConfig`` keys); needed when ``pretrained`` is None. Beside
            ``pretrained`` it allows checking a config before the folder is there, and must agree with it.
        layer: Index of the hidden state to take; -2 as in LLaVA.
        full_view: False crops the middle of a non-square image as CLIP does; True squeezes the whole image into the square.
        processing: Fields of :class:`.hf_vision_tower.Processing` that override the folder's processor, or else CLIP's.
        frozen: If True, it gets no gradient and runs outside the graph.

    Shapes:
        (B, 3, S, S) -> (B, (S / patch)^2, hidden)
    """

    kinds = ('clip_vision_model',)

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        layer: int = -2,
        full_view: bool = False,
        processing: dict[str, Any] | None = None,
        frozen: bool = True,
    ):
        written = {'model_type': self.kinds[0], **config} if config else None
        super().__init__(
            pretrained=pretrained, config=written, layer=layer, full_view=full_view, processing=processing, frozen=frozen
        )
