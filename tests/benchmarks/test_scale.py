"""Models at true widths without weights, data or network."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from benchmarks.gpu.stages import training
from benchmarks.gpu.stages.cases import Outcome
from benchmarks.gpu.stages.overlays import overlays
from benchmarks.gpu.stages.scale import source_of, without_files, write_zeros

BASE = Path(__file__).parents[2] / 'configs' / '_base_'


def test_a_folder_of_zeros_loads_and_takes_no_disk(tmp_path):
    config = dict(
        model_type='llama',
        vocab_size=64,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
    )
    write_zeros(config, tmp_path)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)  # pyright: ignore[reportGeneralTypeIssues] - two with output_loading_info
    assert not report['missing_keys']
    assert not report['unexpected_keys']
    assert model.dtype == torch.bfloat16
    assert not any(parameter.any() for parameter in model.parameters())
    file = tmp_path / 'model.safetensors'
    assert file.stat().st_size > 2 * sum(parameter.numel() for parameter in model.parameters())
    assert 512 * file.stat().st_blocks < 100_000


def test_no_file_is_read():
    source = source_of('lisa_7b_mix')
    assert 'pretrained/' in str(source['model'])
    parts = str(without_files(source['model']))
    assert 'pretrained/' not in parts
    assert 'weights://nano/tokenizer' in parts


def test_every_overlay_is_tried_and_the_first_are_of_each_kind():
    names = overlays()
    files = {
        f'{part}={file.stem}'
        for part, folder in (('mllm', 'mllms'), ('vision_tower', 'vision_towers'), ('mask_decoder', 'mask_decoders'))
        for file in (BASE / folder).glob('*.py')
    }
    assert sorted(names) == sorted(files)
    assert {name.split('=')[0] for name in names[:3]} == {'mllm', 'vision_tower', 'mask_decoder'}


def compared(monkeypatch, name, losses, skipped, reference):
    """The row of a case."""
    rows: list[dict] = []
    monkeypatch.setattr(training, 'report', lambda task, **row: rows.append(row))
    training.compare({}, Outcome(name, 'done', {'losses': losses, 'skipped': skipped}), reference)
    return rows[0]


def test_losses_are_judged_step_by_step(monkeypatch):
    row = compared(monkeypatch, 'DDP, float32', [2.0, 1.0], [], [2.0, 1.0])
    assert (row['status'], row['value']) == ('holds', 'first loss 0.0e+00 from the CPU, 2 steps 0.0e+00 in the mean')
    assert compared(monkeypatch, 'DDP, float32', [2.001, 1.0], [], [2.0, 1.0])['status'] == 'DOES NOT HOLD'
    assert compared(monkeypatch, 'DDP, float32', [2.0, 1.1], [], [2.0, 1.0])['status'] == 'DOES NOT HOLD'
    assert compared(monkeypatch, 'DDP, float32', [2.0, float('nan')], [], [2.0, 1.0])['status'] == 'DOES NOT HOLD'


def test_losses_after_a_skipped_step_are_of_other_weights(monkeypatch):
    name = 'ZeRO-2, float16, dynamic loss scale'
    row = compared(monkeypatch, name, [2.0, 1.0, 9.0], [1], [2.0, 1.0, 0.5])
    assert (row['status'], row['value']) == ('holds', 'first loss 0.0e+00 from the CPU, 2 steps 0.0e+00 in the mean')
    assert row['note'].endswith('the loss scale skipped 1 of 3 steps, the first of them step 2')
    assert compared(monkeypatch, name, [2.0, 1.2, 9.0], [1], [2.0, 1.0, 0.5])['status'] == 'DOES NOT HOLD'
