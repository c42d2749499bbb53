"""What transformers 5.17 lacks: the detour gives the same values where both ways are open."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lisa_mm.models import transformers_versions
from lisa_mm.models.language_models import CausalLM

from .families import whole_model
from .language_families import LANGUAGE_FAMILIES, language_model
from .whole import batch, build, sample


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_logits_where_they_are_wanted(family):
    """By places or by a mask of bool: those of the whole rows."""
    torch.manual_seed(0)
    arguments = language_model(family)
    arguments.pop('type')
    model = CausalLM(**arguments).eval()
    embeds = torch.randn(2, 5, model.hidden_size)
    keep = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    whole = model.model(inputs_embeds=embeds, output_hidden_states=True)
    for wanted in (keep, torch.tensor([1, 2, 9])):  # row * 5 + position
        out = model(embeds, torch.ones(2, 5, dtype=torch.long), wanted)
        assert out.logits.shape == (3, model.vocab_size)
        assert_close(out.logits, whole.logits[keep])
        assert_close(out.hidden_states, whole.hidden_states[-1])
    assert not model.output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize('family', ['llava', 'llava_next', 'qwen2_5_vl', 'qwen3_vl', 'internvl'])
def test_encoded_images_by_the_models_own_method(family, monkeypatch, tmp_path):
    model = build(whole_model(family, tmp_path)).eval()
    data = batch(model, sample(model, (48, 64), 'two'), sample(model, (100, 30), 'one', 1))
    keep = data['inputs']['attention_mask'].bool()
    found = []
    for takes in {transformers_versions.TAKES_ENCODED, False}:
        monkeypatch.setattr(transformers_versions, 'TAKES_ENCODED', takes)
        with torch.no_grad():
            found.append(model.mllm(data['inputs'], keep))
    assert_close(found[0].logits, found[-1].logits)
    assert_close(found[0].hidden_states, found[-1].hidden_states)
    assert 'get_image_features' not in vars(model.mllm.model.model)
