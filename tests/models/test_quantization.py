"""4 and 8 bits under LoRA, on a CPU; needs bitsandbytes (pip install bitsandbytes)."""

from __future__ import annotations

import pytest
import torch

from lisa_mm.registry import LANGUAGE_MODELS

from .language_families import language_model
from .whole import LORA, batch, build, gradients_are_where_they_belong, put_together, sample

pytest.importorskip('bitsandbytes')
BITS = {4: dict(load_in_4bit=True, bnb_4bit_quant_type='nf4'), 8: dict(load_in_8bit=True)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('llama')
    torch.manual_seed(0)
    LANGUAGE_MODELS.build(language_model('llama')).model.save_pretrained(root)
    return str(root)


def quantized(folder, bits, **settings):
    part = {key: value for key, value in language_model('llama').items() if key != 'config'} | {'pretrained': folder}
    return build({**put_together(), 'language_model': part | ({'quantization': BITS[bits]} if bits else {})}, **settings)


@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('settings', [{}, {'train_embeddings': 'new_rows'}, {'lora': {**LORA, 'use_dora': True}}])
@pytest.mark.parametrize('half', [False, True])
def test_a_step(folder, bits, settings, half):
    model, exact = quantized(folder, bits, **settings).train(), quantized(folder, None, **settings).train()
    layer = model.mllm.language_model.model.model.layers[0].self_attn.q_proj  # pyright: ignore[reportIndexIssue] - a ModuleList
    assert type(layer).__name__ == {4: 'Linear4bit', 8: 'Linear8bitLt'}[bits]
    assert type(layer).__module__ == 'peft.tuners.lora.bnb'
    assert layer.base_layer.weight.dtype == {4: torch.uint8, 8: torch.int8}[bits]
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    data = batch(exact, sample(exact, (48, 64), 'two'), sample(exact, (70, 30), 'one', 1))
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
        losses = model(**data, mode='loss')
    assert {value.dtype for value in losses.values()} == {torch.float32}
    expected = exact(**data, mode='loss')
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=0.02
    )
    model.parse_losses(losses)[0].backward()
    gradients_are_where_they_belong(model)
