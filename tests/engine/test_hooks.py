"""What the hooks tell of a run: first sample, parameters, curves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import fake_runner, size_of
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

import lisa_mm
from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.conversation import encode, render
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.engine.hooks.curves_hook import CurvesHook, smooth
from lisa_mm.engine.hooks.first_sample_hook import FirstSampleHook
from lisa_mm.engine.hooks.parameters_hook import ParametersHook, count_parameters, learning_rates, parameter_table
from lisa_mm.engine.hooks.pictures_hook import PicturesHook
from lisa_mm.errors import ConfigError
from lisa_mm.models.base import BaseMLLM
from lisa_mm.registry import HOOKS
from lisa_mm.structures import SegDataSample

TOKENIZER = {'pretrained': str(Path(lisa_mm.__file__).parent / 'weights/nano/tokenizer'), 'template': 'plain', 'wrap_image': True}
SINGLE = 'LisaSingleDeviceStrategy'


def test_all_hooks_are_registered():
    assert all(name in HOOKS for name in ('FirstSampleHook', 'ParametersHook', 'CurvesHook', 'PicturesHook'))


def test_the_first_sample_is_told_once():
    tokenizer = build_tokenizer(**TOKENIZER)
    texts = [
        [('<image>\nWhere is the café?', 'Sure, [SEG].')],
        [('<image>\nWhat?', '[SEG].'), ('And now?', 'No.')],
        [('another image', 'x')],
    ]
    rows = [encode(render(turns, 'plain', tokenizer), tokenizer, num_image_tokens=36, wrap_image=True) for turns in texts]
    masks = torch.zeros(2, 4, 5, dtype=torch.uint8)
    masks[0, 0] = 1
    masks[1, :2] = 1
    masks[1, 3, 0] = 255
    meta = {'sample_id': 'a_1', 'img_path': 'folder/a.jpg', 'original_size': (4, 5), 'resized_size': (13, 16)}
    images = {'pixel_values': torch.zeros(3, 8, 8), 'mask_image': torch.zeros(3, 16, 16)}
    items = []
    for own, data in ((rows[:2], masks), (rows[2:], masks[:0])):
        sample = SegDataSample(metainfo=meta)
        sample.set_data({'gt_masks': data})
        items.append({'inputs': {**images, 'rows': own}, 'data_sample': sample})
    runner = fake_runner(model=SimpleNamespace(mllm=SimpleNamespace(tokenizer_spec=TOKENIZER)))
    batch = seg_collate(items)
    hook = FirstSampleHook()
    for iteration in range(2):
        hook.before_train_iter(runner, iteration, batch)
    (text,) = runner.log.messages
    lines = text.splitlines()
    assert lines[0] == 'first sample: a_1'
    assert 'folder/a.jpg, 4 x 5 (height x width), in the mask decoder 13 x 16; pixel_values (3, 8, 8)' in lines[1]
    first, second = rows[0][0], rows[1][0]
    # 'Sure' ',' ' ' '[SEG]' '.' '</s>'
    assert lines[2] == f'  row 1 of 2: {len(first)} tokens (36 of the image), 6 with loss (in «»)'
    assert lines[3] == ('    <s>USER: <im_start><image x 36><im_end>\\nWhere is the café? ASSISTANT: «Sure, [SEG].</s>»')
    assert lines[4].startswith(f'  row 2 of 2: {len(second)} tokens (36 of the image), ')
    assert lines[5].endswith('What? ASSISTANT: «[SEG].</s>»USER: And now? ASSISTANT: «No.</s>»')
    assert lines[6] == '  masks: 2, area 25.00 %, 50.00 % (5.00 % ignored)'
    # the other image of the batch and the padding are not shown
    assert len(lines) == 7
    assert '<unk>' not in text
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, batch)
    assert len(runner.log.messages) == 2
    other = fake_runner(rank=1)
    FirstSampleHook().before_train_iter(other, 0, batch)
    assert other.log.messages == []


class Decoder(nn.Module):
    """As transformers' models: embeddings and head, and a layer with an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.lm_head = nn.Linear(4, 10, bias=False)
        self.q_proj = nn.Module()
        self.q_proj.base_layer = nn.Linear(4, 4)
        self.q_proj.lora_A = nn.Linear(4, 2, bias=False)
        self.q_proj.lora_B = nn.Linear(2, 4, bias=False)
        self.q_proj.base_layer.requires_grad_(False)


class SmallMLLM(BaseMLLM):
    """Around it, as LISA counts its parts."""

    def input_embeddings(self) -> nn.Module:
        return self.language_model.model.embed  # pyright: ignore[reportReturnType] - torch types attributes as tensors too

    def output_embeddings(self) -> nn.Module:
        return self.language_model.model.lm_head  # pyright: ignore[reportReturnType] - torch types attributes as tensors too


def small_lisa() -> nn.Module:
    model = nn.Module()
    model.mask_decoder = nn.Module()
    model.mask_decoder.image_encoder = nn.Linear(3, 3).requires_grad_(False)
    model.mask_decoder.prompt_encoder = nn.Linear(1, 1).requires_grad_(False)
    model.mask_decoder.decoder = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5).requires_grad_(False))
    model.mllm = SmallMLLM()
    model.mllm.language_model = nn.Module()
    model.mllm.language_model.model = Decoder()
    model.mllm.projector = nn.Linear(2, 2).requires_grad_(False)
    model.mllm.vision_tower = nn.Linear(2, 3).requires_grad_(False)
    model.seg_head = nn.Linear(300, 10)
    return model


def test_parameters_by_part():
    expected = {
        'mllm.vision_tower': (9, 0),
        'mllm.projector': (6, 0),
        'mllm.language_model (base)': (20, 0),
        'mllm.language_model (lora)': (16, 16),
        'mllm.language_model (embeddings+head)': (80, 80),
        'seg_head': (3010, 3010),
        'mask_decoder.image_encoder': (12, 0),
        'mask_decoder.prompt_encoder': (2, 0),
        'mask_decoder.decoder': (60, 30),
    }
    model = small_lisa()
    counts = count_parameters(model)
    assert counts == expected
    assert list(counts) == list(expected)
    lines = [line.split() for line in parameter_table(model).splitlines()]
    assert ['mask_decoder.decoder', '60', '30', '50.00'] in lines
    assert lines[-1] == ['total', '3,215', '3,136', '97.54']
    runner = fake_runner(model=model)
    ParametersHook().before_train(runner)
    assert parameter_table(model) in runner.log.messages[0]


def test_the_learning_rate_of_each_part():
    """As mmengine's own constructor gives it to the parameters: the longest key that is in the name counts."""
    model = small_lisa()
    keys = {'mask_decoder': {'lr_mult': 0.1}, 'lora_': {'lr_mult': 2.0}, 'lora_A': {'lr_mult': 4.0}}
    wrapper = {'optimizer': {'type': 'SGD', 'lr': 0.5}, 'paramwise_cfg': {'custom_keys': keys}}
    built = DefaultOptimWrapperConstructor({'type': 'OptimWrapper', 'optimizer': wrapper['optimizer']}, wrapper['paramwise_cfg'])(
        model
    )
    real = {id(p): group['lr'] for group in built.optimizer.param_groups for p in group['params']}
    rates = learning_rates(model, wrapper)
    assert rates['mask_decoder.decoder'] == [0.05]
    assert rates['mllm.language_model (lora)'] == [1.0, 2.0]
    assert rates['seg_head'] == [0.5]
    assert 'mllm.vision_tower' not in rates
    found = {real[id(p)] for name, p in model.named_parameters() if p.requires_grad and name.startswith('mask_decoder')}
    assert found == {0.05}
    assert {real[id(p)] for name, p in model.named_parameters() if 'lora_' in name} == {1.0, 2.0}
    lines = [line.split() for line in parameter_table(model, wrapper).splitlines()]
    assert ['mask_decoder.decoder', '60', '30', '50.00', '0.05'] in lines
    assert ['mllm.language_model', '(lora)', '16', '16', '100.00', '1', 'to', '2'] in lines
    assert ['mllm.vision_tower', '9', '0', '0.00'] in lines


def test_tied_and_sharded_parameters():
    model = small_lisa()
    decoder = model.mllm.language_model.model
    decoder.lm_head.weight = decoder.embed.weight
    model.seg_head.weight.data = torch.empty(0)
    model.seg_head.weight.ds_numel = 3000
    counts = count_parameters(model)
    assert counts['mllm.language_model (embeddings+head)'] == (40, 40)
    assert counts['seg_head'] == (3010, 3010)


def test_a_model_of_another_kind_is_counted_by_its_children():
    assert count_parameters(nn.ModuleDict({'a': nn.Linear(1, 1), 'b': nn.Linear(2, 1)})) == {'a': (2, 2), 'b': (3, 3)}


def steps(hook: CurvesHook, runner: SimpleNamespace, first: int, last: int, loss: float) -> None:
    for iteration in range(first, last + 1):
        hook.after_train_iter(runner, iteration - 1, outputs={'loss_ce': loss + iteration, 'loss_mask': 0.0})
        runner.iter = iteration


def test_curves_continue_after_a_resume(tmp_path):
    hook, runner = CurvesHook(interval=2), fake_runner(tmp_path)
    hook.before_train(runner)
    steps(hook, runner, 1, 4, loss=100.0)
    hook.after_val_epoch(runner, {'seg/gIoU': 0.25, 'cIoU': float('nan'), 'num_masks': 3.0})
    steps(hook, runner, 5, 5, loss=100.0)
    # off the interval, and the checkpoint still has its numbers
    hook.before_save_checkpoint(runner, {})
    assert len(json.loads((tmp_path / 'curves.json').read_text())['train']) == 5
    steps(hook, runner, 6, 8, loss=100.0)
    assert size_of(tmp_path / 'curves.png') > (100, 100)

    hook, runner = CurvesHook(interval=2), fake_runner(tmp_path, iteration=5)
    hook.before_train(runner)
    steps(hook, runner, 6, 7, loss=200.0)
    hook.after_val_epoch(runner, {'gIoU': 0.5, 'cIoU': 0.75})
    hook.after_val_epoch(runner, {'gIoU': 0.5, 'cIoU': 0.75})
    hook.after_train(runner)
    numbers = json.loads((tmp_path / 'curves.json').read_text())
    assert [point['iter'] for point in numbers['train']] == [1, 2, 3, 4, 5, 6, 7]
    assert [point['loss_ce'] for point in numbers['train']] == [101, 102, 103, 104, 105, 206, 207]
    assert all(point['lr'] == 0.5 for point in numbers['train'])
    assert numbers['val'] == [{'iter': 4, 'gIoU': 0.25, 'cIoU': None}, {'iter': 7, 'gIoU': 0.5, 'cIoU': 0.75}]
    assert str(tmp_path / 'curves.png') in runner.log.messages[-1]
    assert not list(tmp_path.glob('.tmp_*'))


def test_tensorboard_drops_the_repeated_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for iteration, last, loss in ((0, 4, 100.0), (2, 3, 200.0)):
        hook, runner = CurvesHook(), fake_runner(tmp_path, iteration=iteration)
        hook.before_train(runner)
        steps(hook, runner, iteration + 1, last, loss=loss)
        hook.after_val_epoch(runner, {'gIoU': 0.5})
        hook.after_train(runner)
    events = EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars('train/loss_ce')] == [(1, 101), (2, 102), (3, 203)]
    assert [event.step for event in events.Scalars('val/gIoU')] == [3]


def test_a_new_training_begins_new_curves(tmp_path):
    (tmp_path / 'curves.json').write_text('{"train": [{"iter": 1}], "val": []}')
    hook = CurvesHook()
    hook.before_train(fake_runner(tmp_path))
    assert hook.train == []


def test_other_processes_write_nothing(tmp_path):
    hook, runner = CurvesHook(interval=1), fake_runner(tmp_path, rank=1)
    hook.before_train(runner)
    steps(hook, runner, 1, 2, loss=1.0)
    hook.before_save_checkpoint(runner, {})
    hook.after_val_epoch(runner, {'gIoU': 0.5})
    hook.after_train(runner)
    assert not list(tmp_path.iterdir())


def test_curves_and_parameters_of_a_real_run_that_is_resumed(tmp_path):
    hooks = [{'type': 'CurvesHook', 'interval': 2}, {'type': 'ParametersHook'}]
    run = {'work_dir': str(tmp_path), 'strategy': SINGLE, 'max_iters': 3, 'total_iters': 5}
    from toy import make_config, model_of

    from lisa_mm.engine import LisaRunner

    for options in (run, {**run, 'max_iters': 5, 'resume': True}):
        LisaRunner(model_of(options), **make_config(options), custom_hooks=hooks, launcher='none').train()
    numbers = json.loads((tmp_path / 'curves.json').read_text())
    assert [point['iter'] for point in numbers['train']] == [1, 2, 3, 4, 5]
    assert {'iter', 'loss', 'loss_ce', 'loss_mask', 'lr'} == set(numbers['train'][-1])
    assert size_of(tmp_path / 'curves.png') > (100, 100)
    logged = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert logged.count('parameters of ToyModel') == 2


def test_smoothing():
    assert smooth(np.full(7, 3.0)) == pytest.approx(3.0)
    # with so few values each counts 2/3 of the next: (1 * 2/3 + 4) / (2/3 + 1)
    assert smooth(np.array([1.0, 4.0]))[1] == pytest.approx(2.8)


@pytest.mark.parametrize('build', [lambda: CurvesHook(0), lambda: PicturesHook(0), lambda: PicturesHook(interval=0)])
def test_wrong_settings(build):
    with pytest.raises(ConfigError, match='at least 1'):
        build()
