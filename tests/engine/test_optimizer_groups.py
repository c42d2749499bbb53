"""Learning rates by part."""

from __future__ import annotations

import pytest
from test_loop_and_hooks import SINGLE, run
from torch import nn
from toy import ToyModel


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
    runner = run(tmp_path, strategy=strategy, stage=0, max_iters=1, config={'optim_wrapper': wrapper, 'param_scheduler': []})
    # embedding; head and mask head with weight and bias each; mmengine appends one that only records the base rate
    *groups, base = runner.optim_wrapper.param_groups
    assert [group['lr'] for group in groups] == pytest.approx([0.001, 0.01, 0.01, 0.01, 0.01])
    assert [len(group['params']) for group in groups] == [1] * 5
    assert base['lr'] == 0.01
