"""How much memory quantised weights save, against numbers by hand."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

import lisa_mm
from lisa_mm.config import load_config
from lisa_mm.models.language_models.quantization import bytes_saved
from lisa_mm.models.phases import shapes_only
from lisa_mm.planning.report import memory_report

SEVEN = lisa_mm.get_config('lisa/lisa_7b_mix')
LINEAR = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)  # weights of the layers' projections in LLaMA 7B
ROWS = 32 * (4 * 4096 + 2 * 11008 + 4096)


@pytest.mark.parametrize(
    ('quantization', 'stored'),
    [
        ({'load_in_4bit': True}, LINEAR / 2 + LINEAR / 64 * 4),
        ({'load_in_4bit': True, 'bnb_4bit_use_double_quant': True}, LINEAR / 2 + LINEAR / 64 + LINEAR / 64 / 256 * 4),
        ({'load_in_8bit': True}, LINEAR + 4 * ROWS),
    ],
)
def test_what_the_decoder_of_seven_billion_saves(quantization, stored):
    with shapes_only():
        decoder = AutoModelForCausalLM.from_config(LlamaConfig()).requires_grad_(False).get_decoder()
    assert bytes_saved(decoder, quantization, 2) == 2 * LINEAR - stored
    assert bytes_saved(decoder, quantization, 4) == 4 * LINEAR - stored


@pytest.mark.slow
def test_the_figure_of_check_config_has_it():
    option = "model.mllm.language_model.quantization={'load_in_4bit':True}"
    plain, qlora = (memory_report(load_config(SEVEN, (), options), gpus=1) for options in ((), (option,)))
    saved = plain['parameters_frozen'] - qlora['parameters_frozen']
    assert saved == 2 * LINEAR - (LINEAR / 2 + LINEAR / 64 * 4)
    assert plain['peak'] - qlora['peak'] == pytest.approx(saved, rel=0.05)
