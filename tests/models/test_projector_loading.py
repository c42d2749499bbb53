"""A projector out of a published folder."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lisa_mm.errors import CheckpointError
from lisa_mm.models.projectors import LinearProjector, MLPProjector


def test_the_projector_of_a_llava_folder(tmp_path):
    weights = {'model.mm_projector.weight': torch.randn(3, 2).half(), 'model.mm_projector.bias': torch.randn(3).half()}
    torch.save({**weights, 'model.norm.weight': torch.ones(3)}, tmp_path / 'pytorch_model.bin')
    projector = LinearProjector(2, 3, pretrained=str(tmp_path))
    assert torch.equal(projector.linear.weight, weights['model.mm_projector.weight'].float())
    assert torch.equal(projector.linear.bias, weights['model.mm_projector.bias'].float())
    assert projector.from_file


def test_the_two_layers_of_llava_15(tmp_path):
    weights = {f'model.mm_projector.{i}.{n}': torch.randn(*s) for i, n, s in ((0, 'weight', (3, 2)), (2, 'weight', (3, 3)))}
    weights |= {f'model.mm_projector.{i}.bias': torch.randn(3) for i in (0, 2)}
    save_file(weights, tmp_path / 'model.safetensors')
    projector = MLPProjector(2, 3, pretrained=str(tmp_path))
    assert torch.equal(projector.layers[2].weight, weights['model.mm_projector.2.weight'])
    with pytest.raises(CheckpointError, match='does not fit LinearProjector'):
        LinearProjector(2, 3, pretrained=str(tmp_path))


def test_a_folder_without_a_projector(tmp_path):
    save_file({'model.norm.weight': torch.ones(3)}, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'holds no model\.mm_projector'):
        LinearProjector(2, 3, pretrained=str(tmp_path))
