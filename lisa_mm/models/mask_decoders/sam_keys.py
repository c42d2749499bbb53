"""Names of Segment Anything's weights in the release and in transformers."""

from __future__ import annotations

import re

from torch import Tensor

# Release -> transformers, tried in order; only the first match is applied
BY_PART = {
    'image_encoder.': [
        (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
        (r'^blocks\.(\d+)\.norm(\d)\.', r'layers.\1.layer_norm\2.'),
        (r'^blocks\.(\d+)\.', r'layers.\1.'),
        (r'^neck\.0\.', 'neck.conv1.'),
        (r'^neck\.1\.', 'neck.layer_norm1.'),
        (r'^neck\.2\.', 'neck.conv2.'),
        (r'^neck\.3\.', 'neck.layer_norm2.'),
    ],
    'prompt_encoder.': [
        (r'^mask_downscaling\.0\.', 'mask_embed.conv1.'),
        (r'^mask_downscaling\.1\.', 'mask_embed.layer_norm1.'),
        (r'^mask_downscaling\.3\.', 'mask_embed.conv2.'),
        (r'^mask_downscaling\.4\.', 'mask_embed.layer_norm2.'),
        (r'^mask_downscaling\.6\.', 'mask_embed.conv3.'),
        (r'^point_embeddings\.', 'point_embed.'),
        (r'^pe_layer\.positional_encoding_gaussian_matrix', 'shared_embedding.positional_embedding'),
    ],
    'mask_decoder.': [
        (r'^transformer\.norm_final_attn\.', 'transformer.layer_norm_final_attn.'),
        (r'^transformer\.layers\.(\d+)\.norm(\d)\.', r'transformer.layers.\1.layer_norm\2.'),
        (r'^output_upscaling\.0\.', 'upscale_conv1.'),
        (r'^output_upscaling\.1\.', 'upscale_layer_norm.'),
        (r'^output_upscaling\.3\.', 'upscale_conv2.'),
    ],
}
NEW_PART = {'image_encoder.': 'vision_encoder.', 'prompt_encoder.': 'prompt_encoder.', 'mask_decoder.': 'mask_decoder.'}
MLP = re.compile(r'^mask_decoder\.(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.(\d+)\.(\w+)$')


def from_segment_anything(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the release to the names of ``transformers.SamModel``.

    The release numbers the layers of an MLP; transformers calls the first ``proj_in`` and the last ``proj_out``. The matrix of
    the positional encoding appears twice. Unknown names stay as they are: a strict load reports them.

    Args:
        state: ``image_encoder.*``, ``prompt_encoder.*``, ``mask_decoder.*``, and the two buffers ``pixel_mean``, ``pixel_std``.
    """
    last: dict[str, int] = {}
    for key in state:
        if found := MLP.match(key):
            last[found[1]] = max(last.get(found[1], 0), int(found[2]))
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in ('pixel_mean', 'pixel_std'):
            continue
        if found := MLP.match(key):
            mlp, number, kind = found[1], int(found[2]), found[3]
            layer = 'proj_in' if number == 0 else 'proj_out' if number == last[mlp] else f'layers.{number - 1}'
            renamed[f'mask_decoder.{mlp}.{layer}.{kind}'] = value
            continue
        part = next((part for part in BY_PART if key.startswith(part)), None)
        name = key if part is None else NEW_PART[part] + _rename(key.removeprefix(part), BY_PART[part])
        renamed[name] = value
        if name == 'prompt_encoder.shared_embedding.positional_embedding':
            renamed['shared_image_embedding.positional_embedding'] = value
    return renamed


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        changed, hits = re.subn(pattern, replacement, name)
        if hits:
            return changed
    return name
