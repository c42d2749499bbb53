"""Segment Anything's mask decoder, prompted by embeddings."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from ...errors import ConfigError
from ...registry import BACKBONES, MASK_DECODERS
from ...structures import MaskImageSpec
from ..base import BaseImageEncoder, BaseMaskDecoder, ImageEmbeddings, Part, TrainableGroup
from ..precision import Float32PositionEmbedding
from ..reading import to_be_filled
from ..weight_files import read_weights
from ..weights import load_strictly
from .two_way import masks_of, run_two_way
from .upscaling import upscale_masks

# From the released models (segment_anything/modeling/sam.py), for pixels on the 0-255 scale
SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)


@MASK_DECODERS.register_module()
class SAMMaskDecoder(BaseMaskDecoder):
    """Segment Anything's decoder with one mask per prompt; owns the image encoder and the (frozen) prompt encoder.

    The released decoder takes one image per call; here the same layers run once over the prompts of all images. With one mask
    per prompt, the IoU head and the hypernetworks of the other three masks get no gradient: they are kept and frozen.

    Args:
        image_encoder: ``dict(type='SAMImageEncoder', ...)``.
        pretrained: A checkpoint in the key format of the release (``sam_vit_h_4b8939.pth``), or None.
        depth: Number of layers of the two-way transformer.
        num_heads: Attention heads of the two-way transformer.
        mlp_dim: MLP width of the two-way transformer.
        iou_hidden_dim: Width of the IoU head.
        iou_depth: Number of layers of the IoU head.
        mask_in_channels: Channels of the prompt encoder's mask branch.
        frozen: If True, the decoder gets no gradient; the image encoder has a key of its own.
    """

    def __init__(
        self,
        image_encoder: dict[str, Any],
        *,
        pretrained: str | None = None,
        depth: int = 2,
        num_heads: int = 8,
        mlp_dim: int = 2048,
        iou_hidden_dim: int = 256,
        iou_depth: int = 3,
        mask_in_channels: int = 16,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        with to_be_filled(pretrained is not None):
            encoder: BaseImageEncoder = BACKBONES.build(image_encoder)
        grid = encoder.image_size // encoder.patch_size
        dim = encoder.out_channels
        if num_heads < 1 or dim % 8 or dim // 2 % num_heads:  # the cross-attention runs at half the width
            raise ConfigError(
                f'model.mask_decoder.num_heads is {num_heads}, but half of the width {dim} (image_encoder.out_channels) is no '
                'multiple of it, or the width no multiple of 8. Change one of them.'
            )
        self.image_encoder = encoder
        self.prompt_encoder = PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(encoder.image_size, encoder.image_size),
            mask_in_chans=mask_in_channels,
        )
        self.prompt_encoder.pe_layer = Float32PositionEmbedding.of(self.prompt_encoder.pe_layer)
        with to_be_filled(pretrained is not None):
            self.decoder = MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=depth, embedding_dim=dim, mlp_dim=mlp_dim, num_heads=num_heads),
                transformer_dim=dim,
                iou_head_depth=iou_depth,
                iou_head_hidden_dim=iou_hidden_dim,
            )
        self.pretrained = pretrained

    def load_pretrained(self) -> None:
        self.from_file = self.pretrained is not None
        if self.pretrained is not None:
            load_strictly(self, self.from_released(read_weights(self.pretrained)), str(self.pretrained))

    @staticmethod
    def from_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Names of the release -> names of this module (without the normalisation buffers)."""
        names = {'image_encoder.': 'image_encoder.vit.', 'mask_decoder.': 'decoder.', 'prompt_encoder.': 'prompt_encoder.'}
        renamed = {}
        for key, value in state.items():
            if key in ('pixel_mean', 'pixel_std'):
                continue
            old = next((prefix for prefix in names if key.startswith(prefix)), '')
            renamed[names.get(old, '') + key[len(old) :]] = value
        return renamed

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        other_masks = list(self.decoder.output_hypernetworks_mlps)[1:]
        unused = (self.prompt_encoder, self.decoder.iou_prediction_head, *other_masks)
        return {
            **super().trainable_groups(),
            'image_encoder': self.image_encoder,
            'unused': TrainableGroup(unused, unused=True),
        }

    @property
    def prompt_dim(self) -> int:
        return self.image_encoder.out_channels

    @property
    def preprocess(self) -> MaskImageSpec:
        return {'image_size': self.image_encoder.image_size, 'mean': SAM_MEAN, 'std': SAM_STD, 'resize': 'longest_side'}

    @property
    def frozen_encoder(self) -> nn.Module | None:
        return self.image_encoder

    def encoder_features(self, pixels: Tensor) -> ImageEmbeddings:
        return self.image_encoder(pixels)

    def encode_image(self, pixels: Tensor) -> ImageEmbeddings:
        return self.from_features(self.encoder_features(pixels))

    def forward(self, embeddings: ImageEmbeddings, prompts: list[Tensor]) -> list[Tensor]:
        counts = [len(prompt) for prompt in prompts]
        sparse = torch.cat(prompts)[:, None]  # (K, 1, C)
        if not len(sparse):  # the released layers reject an empty batch
            side = 4 * embeddings.features.shape[-1]
            return [sparse.new_zeros(0, side, side) for _ in prompts]
        decoder = self.decoder

        # Tokens: IoU, four masks, the prompt
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # (5, C)
        tokens = torch.cat([output_tokens.expand(len(sparse), -1, -1), sparse], dim=1)  # (K, 6, C)

        # Image features (B, T, C), T = h w; their position is the same for all images
        features = embeddings.features + self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        images = features.flatten(2).mT.contiguous()
        position = self.prompt_encoder.get_dense_pe().to(features.dtype)[0].flatten(1).mT
        states, attended = run_two_way(decoder.transformer, images, position, tokens, counts)

        # The mask of token 1 over the upscaled features
        weights = decoder.output_hypernetworks_mlps[0](states[:, 1])  # (K, C / 8)
        height, width = features.shape[-2:]
        logits = masks_of(decoder.output_upscaling, attended, weights, (height, width))
        return list(logits.split(counts))

    def upscale(self, logits: Tensor, resized_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
        return upscale_masks(logits, self.image_encoder.image_size, resized_size, original_size)
