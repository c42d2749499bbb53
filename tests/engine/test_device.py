"""What a machine without a GPU can show of one: names of devices, TF32, pinned batches, where a batch goes, random states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.structures import BaseDataElement
from toy import ToyDataset, ToyModel, collate

from lisa_mm.engine import LisaRunner
from lisa_mm.engine.device import choose_device, describe_device, set_tf32
from lisa_mm.engine.rng import rng_state, set_rng_state
from lisa_mm.engine.strategies.deepspeed import LisaDeepSpeedStrategy
from lisa_mm.errors import ConfigError
from lisa_mm.models.data_preprocessor import SegDataPreprocessor
from lisa_mm.structures import SegDataSample

MEAN = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def one_gpu(monkeypatch):
    """Torch says that there is a GPU."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)


def test_a_gpu_is_taken_where_there_is_one(one_gpu):
    assert choose_device() == torch.device('cuda')
    assert choose_device('cpu') == torch.device('cpu')
    assert choose_device('cuda:0') == torch.device('cuda', 0)
    with pytest.raises(ConfigError, match="there are 1 GPUs: 'cuda:0' to 'cuda:0'"):
        choose_device('cuda:1')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_there_is_not_is_refused():
    assert choose_device() == torch.device('cpu')
    with pytest.raises(ConfigError, match=r"device is 'cuda', but torch finds no GPU here. Give 'cpu', or leave it out."):
        choose_device('cuda')
    with pytest.raises(ConfigError, match="device is 'gpu'; give 'cpu', 'cuda' or 'cuda:1'"):
        choose_device('gpu')
    assert describe_device(torch.device('cpu'), 'bfloat16') == 'bfloat16 on cpu'


def test_products_and_convolutions_have_the_same_digits():
    for on in (True, False):
        set_tf32(on)
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == on


def test_a_runner_says_tf32_and_its_default_is_off(tmp_path):
    config = {'work_dir': str(tmp_path), 'experiment_name': 'tf32', 'strategy': {'type': 'LisaSingleDeviceStrategy'}}
    LisaRunner(ToyModel(), **config, env_cfg={'tf32': True})
    assert torch.backends.cudnn.allow_tf32
    LisaRunner(ToyModel(), **{**config, 'experiment_name': 'off'})
    assert not torch.backends.cudnn.allow_tf32
    with pytest.raises(ConfigError, match=r"env_cfg.tf32 is 'yes'; give True or False"):
        LisaRunner(ToyModel(), **config, env_cfg={'tf32': 'yes'})


@pytest.mark.parametrize(('given', 'expected'), [({}, True), ({'pin_memory': False}, False)])
def test_batches_lie_in_pinned_memory_where_there_is_a_gpu(monkeypatch, given, expected):
    loader = {'dataset': ToyDataset(), 'sampler': {'type': 'SeekableSampler'}, 'batch_size': 2, 'num_workers': 0, **given}
    loader['collate_fn'] = collate
    assert not LisaRunner.build_dataloader(loader).pin_memory
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert LisaRunner.build_dataloader(loader).pin_memory is expected


def test_masks_are_pinned_with_their_sample(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: pinned.append(tensor.shape) or tensor)
    sample = SegDataSample(metainfo={'sample_id': 'a'}, gt_masks=torch.ones(2, 3, 4, dtype=torch.uint8), answers=['x'])
    found = torch.utils.data._utils.pin_memory.pin_memory({'data_samples': [sample]})['data_samples'][0]
    assert pinned == [(2, 3, 4)]
    assert isinstance(found, SegDataSample)
    assert (found.sample_id, found.answers) == ('a', ['x'])
    assert torch.equal(found.gt_masks, sample.gt_masks)


class Whole(ToyModel):
    """With a preprocessor and a buffer, as LISA has."""

    def __init__(self):
        super().__init__()
        self.data_preprocessor = SegDataPreprocessor({}, MEAN)


def batch_of(model: Any) -> torch.device:
    """Where a batch ends."""
    data = model.data_preprocessor.cast_data({'inputs': [torch.ones(1)], 'data_samples': [BaseDataElement(m=torch.ones(1))]})
    assert data['inputs'][0].device == data['data_samples'][0].m.device
    return data['inputs'][0].device


@pytest.mark.parametrize('move', [lambda model: model.to('meta'), lambda model: model.to(device=torch.device('meta'))])
def test_the_batch_follows_the_model(move):
    model = move(Whole())
    assert batch_of(model).type == model.data_preprocessor.mean.device.type == 'meta'
    assert batch_of(model.to(torch.bfloat16)).type == 'meta'
    assert model.data_preprocessor.mean.dtype == torch.float32


def test_what_stands_beside_sharded_parameters_goes_to_the_device_too(monkeypatch):
    """DeepSpeed moves no model that has parameters of ``zero.Init``: it takes all of it to be in place."""
    import deepspeed

    model = Whole()
    model.embedding.weight.ds_id = 0  # as transformers' from_pretrained leaves it
    monkeypatch.setattr(deepspeed, 'get_accelerator', lambda: SimpleNamespace(current_device_name=lambda: 'meta'))
    LisaDeepSpeedStrategy._bring_beside_sharded(SimpleNamespace(parameter_dtype=torch.float32), model)
    assert {value.device.type for value in [*model.parameters(), *model.buffers()]} == {'meta'}
    assert batch_of(model).type == 'meta'


def test_random_states_of_another_kind_of_machine_are_told(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr('lisa_mm.engine.rng.print_log', lambda text, *rest: lines.append(text))
    state = rng_state()
    set_rng_state(state)
    assert not lines
    set_rng_state({**state, 'cuda': torch.zeros(16, dtype=torch.uint8)})
    assert lines == [
        'the checkpoint was written with a GPU, here is none: dropout draws other numbers than in an uninterrupted run.'
    ]


def test_a_step_that_the_loss_scale_skips_is_told(monkeypatch):
    """DeepSpeed itself says so at a level that its logger does not show."""
    lines: list[str] = []
    monkeypatch.setattr('lisa_mm.engine.strategies.deepspeed.print_log', lambda text, **rest: lines.append(text))
    engine = SimpleNamespace(skipped_steps=3, optimizer=SimpleNamespace(loss_scale=32768.0))
    overflows = iter([False, True])

    def step() -> None:
        engine.skipped_steps += next(overflows)

    wrapper = SimpleNamespace(backward=lambda loss: None, step=step)
    strategy = SimpleNamespace(model=SimpleNamespace(model=engine), optim_wrapper=wrapper)
    LisaDeepSpeedStrategy.backward_and_step(strategy, torch.zeros(()), last=True)
    assert not lines
    LisaDeepSpeedStrategy.backward_and_step(strategy, torch.zeros(()), last=True)
    assert len(lines) == 1
    assert 'overflowed at its loss scale, which is now 32768.' in lines[0]
