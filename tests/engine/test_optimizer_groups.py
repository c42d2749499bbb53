"""Learning rates by part."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.logging import MMLogger, print_log
from test_loop_and_hooks import SINGLE, run
from torch import nn
from toy import ToyModel

from lisa_mm.engine.optimizer import joined_groups, without_parameter_lines
from lisa_mm.errors import CheckpointError


class TiedModel(ToyModel):
    """A second module has the mask head's matrix, as a head tied to its embeddings has theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.tied = nn.Linear(*self.mask_head.weight.shape[::-1], bias=False)
        self.tied.weight = self.mask_head.weight


@pytest.mark.parametrize('strategy', [SINGLE, 'LisaDeepSpeedStrategy'])
def test_a_tied_parameter_is_in_one_group_with_its_parts_rate(tmp_path, monkeypatch, strategy):
    monkeypatch.setattr('test_loop_and_hooks.model_of', lambda options: TiedModel())
    wrapper = {
        'optimizer': {'type': 'AdamW', 'lr': 0.01},
        'paramwise_cfg': {'custom_keys': {'embedding': {'lr_mult': 0.1}}},
    }
    config = {'optim_wrapper': wrapper, 'param_scheduler': []}
    runner = run(tmp_path, strategy=strategy, stage=0, max_iters=1, interval=1, config=config)
    # a group a rate: the embedding; head and mask head. mmengine appends one that only records the base rate
    assert runner.optim_wrapper is not None
    *groups, base = runner.optim_wrapper.param_groups
    assert [group['lr'] for group in groups] == pytest.approx([0.001, 0.01])
    assert base['lr'] == 0.01
    if strategy == SINGLE:  # DeepSpeed keeps a flat copy of each group
        assert [len(group['params']) for group in groups] == [1, 4]
    names = [name for name, p in runner.model.named_parameters() if p.requires_grad]
    found = runner.strategy.group_names()
    assert [['embedding' in name for name in group] for group in found] == [[True], [False] * 4]
    assert len(names) == 5
    with pytest.raises(CheckpointError, match=r'4 are in another parameter group, .*paramwise_cfg is another: head.bias'):
        run(tmp_path / 'other', strategy=strategy, stage=0, max_iters=2, resume=str(tmp_path / 'run'))


def test_groups_of_equal_settings_are_one_and_frozen_parameters_in_none():
    one, two, three, frozen = (nn.Parameter(torch.ones(1), requires_grad=n < 3) for n in range(4))
    groups = [
        {'params': [one, frozen], 'lr': 0.1, 'weight_decay': 0.0},
        {'params': [frozen], 'lr': 0.3, 'weight_decay': 0.0},
        {'params': [two], 'lr': 0.2, 'weight_decay': 0.0},
        {'params': [three], 'lr': 0.1, 'weight_decay': 0.0},
    ]
    joined = joined_groups(groups)
    assert [(group['lr'], group['params']) for group in joined] == [(0.1, [one, three]), (0.2, [two])]


@pytest.mark.parametrize('strategy', [SINGLE, 'LisaDeepSpeedStrategy'])
def test_the_log_has_no_line_for_each_parameter(tmp_path, strategy):
    """ParametersHook says in a table what is trained and at which rates; other messages of the building stay."""
    wrapper = {
        'optimizer': {'type': 'AdamW', 'lr': 0.01},
        'paramwise_cfg': {'custom_keys': {'embedding': {'lr_mult': 0.1}}},
    }
    runner = run(tmp_path, strategy=strategy, stage=0, max_iters=1, config={'optim_wrapper': wrapper, 'param_scheduler': []})
    runner.logger.warning('frozen.weight is skipped since its requires_grad=False')  # written outside the building
    logged = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert logged.count('is skipped since') == 1
    assert 'paramwise_options' not in logged
    assert 'iter 1/1' in logged


def test_other_messages_of_the_building_stay():
    logger = MMLogger.get_current_instance()
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with without_parameter_lines():
            print_log('.weight is skipped since its requires_grad=False', 'current', logging.WARNING)
            print_log('paramwise_options -- head.weight:lr=0.1', 'current')
            print_log('head is duplicate. It is skipped since bypass_duplicate=True', 'current', logging.WARNING)
    finally:
        logger.removeHandler(handler)
    assert records == ['head is duplicate. It is skipped since bypass_duplicate=True']
    assert not logger.filters
