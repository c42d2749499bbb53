"""Sizes of the models that benchmarks run, and the one form that they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lisa_mm import PACKAGE_DIR

READERS = ('data', 'photos')  # kinds of work without a model
TOKENIZER = str(PACKAGE_DIR / 'weights' / 'nano' / 'tokenizer')


@dataclass(frozen=True)
class Preset:
    """Widths of a model of random weights, and the batch of one step.

    Args:
        language: The architecture of the Llama.
        vision: The architecture of the CLIP tower.
        encoder: Arguments of ``SAMImageEncoder``.
        decoder: Further arguments of ``SAMMaskDecoder``; by default those of the release.
        size: Height and width of an image file in pixels.
        images: Images of a training step.
        rows: Conversations per image, each with one ``[SEG]``.
        text_tokens: Tokens of a row besides the image.
        recompute: Whether training keeps only the inputs of the language model's layers (gradient checkpointing).
    """

    language: dict[str, int]
    vision: dict[str, int]
    encoder: dict[str, Any]
    decoder: dict[str, int] = field(default_factory=dict)
    size: tuple[int, int] = (480, 640)
    images: int = 2
    rows: int = 3
    text_tokens: int = 48
    recompute: bool = True

    def model(self, *, train: bool = False, **language_model: Any) -> dict[str, Any]:
        """The config of the model.

        Args:
            train: With LoRA and recomputation, as the published recipe trains.
            language_model: Further arguments of the language model.
        """
        if train:
            language_model = {'gradient_checkpointing': self.recompute, **language_model}
        return dict(
            type='LISA',
            mllm=dict(
                type='LlavaMLLM',
                vision_tower=dict(type='CLIPVisionTower', full_view=True, config=dict(self.vision)),
                projector=dict(type='LinearProjector'),
                language_model=dict(
                    type='CausalLM',
                    config=dict(model_type='llama', max_position_embeddings=1024, **self.language),
                    tokenizer=TOKENIZER,
                    template='plain',
                    **language_model,
                ),
            ),
            mask_decoder=dict(type='SAMMaskDecoder', image_encoder=dict(type='SAMImageEncoder', **self.encoder), **self.decoder),
            seg_head=dict(type='SegTokenHead'),
            losses=dict(
                ce=dict(type='CrossEntropyLoss', weight=1.0),
                bce=dict(type='MaskBCELoss', weight=2.0),
                dice=dict(type='MaskDiceLoss', weight=0.5),
            ),
            lora=dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=['q_proj', 'v_proj']) if train else None,
        )


def _language(width: int, mlp: int, layers: int, heads: int, vocabulary: int) -> dict[str, int]:
    return dict(
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=vocabulary,
    )


def _vision(width: int, mlp: int, layers: int, heads: int, *, side: int = 224, patch: int = 14) -> dict[str, int]:
    return dict(
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=patch,
    )


def _encoder(
    width: int, depth: int, heads: int, *, side: int, patch: int, window: int, whole: tuple[int, ...], out: int
) -> dict[str, Any]:
    return dict(
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        image_size=side,
        patch_size=patch,
        window_size=window,
        global_attn_indexes=whole,
        out_channels=out,
    )


PRESETS: dict[str, Preset] = {
    # 110 M parameters: an LLM and a vision tower of 8 layers of 512, a SAM of 6 layers of 384 at its full image size
    'mid': Preset(
        _language(512, 1376, 8, 8, 32003),
        _vision(512, 2048, 8, 8),
        _encoder(384, 6, 6, side=1024, patch=16, window=14, whole=(2, 5), out=256),
    ),
    # 182 M parameters: the language model has most of them, as in a 7B
    '7b_shaped': Preset(
        _language(1024, 2752, 12, 16, 4003),
        _vision(256, 1024, 8, 4),
        _encoder(320, 6, 5, side=1024, patch=16, window=14, whole=(2, 5), out=256),
    ),
    # the widths of lisa_nano
    'nano': Preset(
        _language(128, 344, 4, 4, 1203),
        _vision(96, 256, 3, 4, side=96, patch=24),
        _encoder(96, 4, 4, side=192, patch=8, window=8, whole=(1, 3), out=64),
        dict(num_heads=4, mlp_dim=256, iou_hidden_dim=64),
        size=(144, 192),
        recompute=False,
    ),
    # for tests
    'tiny': Preset(
        _language(32, 64, 2, 4, 1400),
        _vision(16, 32, 2, 2, side=32, patch=8),
        _encoder(16, 2, 2, side=64, patch=8, window=4, whole=(1,), out=16),
        dict(num_heads=2, mlp_dim=32, iou_hidden_dim=16),
        size=(48, 64),
    ),
}
