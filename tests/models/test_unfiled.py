"""Frozen weights that no file holds belong into the checkpoint."""

from __future__ import annotations

from safetensors.torch import save_file

import lisa_mm
from lisa_mm.checkpoints.folder import split_state
from lisa_mm.config import compile_config, load_config
from lisa_mm.models import LISA
from lisa_mm.models.projectors import LinearProjector

from .whole import frozen_as_it_says


def test_a_model_from_scratch_is_kept_whole():
    compiled = compile_config(load_config(lisa_mm.get_config('lisa/lisa_nano_pretrain')))
    model = LISA(**{k: v for k, v in compiled.model.to_dict().items() if k != 'type'})
    kept, frozen = split_state(model)
    assert not frozen
    # random, frozen, and without it no position is the same again
    assert 'mask_decoder.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix' in kept


def test_a_frozen_part_from_a_file_is_not_kept(tmp_path):
    save_file(LinearProjector(3, 2).state_dict(), tmp_path / 'p.safetensors')
    part = LinearProjector(3, 2, pretrained=str(tmp_path / 'p.safetensors'))
    frozen_as_it_says(part)
    assert split_state(part)[0] == {}
    random_part = frozen_as_it_says(LinearProjector(3, 2))
    assert set(split_state(random_part)[0]) == {'linear.weight', 'linear.bias'}
