"""Two processes whose micro-batches differ: masks, words about an image, text alone. They must run, and equal a plain loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from launching import finish, result, start
from toy import data_of, model_of

STEPS = 6
# four samples a step: two of the first process, two of the second
TALKS = [
    *('two', 'one', 'one', 'none'),
    *('two', 'none', 'none', 'text'),
    *('text', 'text', 'one', 'one'),
    *('none', 'none', 'text', 'text'),
    *('text', 'one', 'two', 'two'),
    *('one', 'two', 'text', 'text'),
]
PARTS = {'llava': {}, 'llava_vision': {'train_vision': True}, 'whole': {'whole': True}}
STAGES = {
    0: {'stage': 0},
    2: {'stage': 2},
    3: {'stage': 3},
    'all of 3': {'stage': 3, 'more_strategy': {'zero_options': {'stage3_param_persistence_threshold': 0}}},
    'ddp': {'strategy': 'LisaDDPStrategy'},
}


def options_of(root: Path, parts: str, **more) -> dict:
    options = {'talks': TALKS, 'max_iters': STEPS, 'accumulation': 1, 'clip': 0.0, 'train_vision': parts != 'llava', **more}
    return {**options, 'whole': str(root / 'whole')} if parts == 'whole' else options


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp('uneven')
    launched = []
    for parts in PARTS:
        for stage, strategy in STAGES.items():
            launched.append(options_of(root, parts, work_dir=str(root / f'{parts}_{stage}'), **strategy))
    finish(start(launched, processes=2))
    return root


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """The losses of a loop that averages the gradients of both processes' micro-batches."""
    found = {}
    for parts in PARTS:
        options = options_of(tmp_path_factory.mktemp('plain'), parts)
        torch.manual_seed(0)
        model = model_of(options).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
        dataset, put_together = data_of(options, model)
        found[parts] = []
        for step in range(STEPS):
            optimizer.param_groups[0]['lr'] = 0.01 * [0, 1 / 2, 1, 3 / 4, 2 / 4, 1 / 4][step]
            losses: dict[str, float] = {}
            for rank in range(2):
                batch = put_together([dataset[4 * step + 2 * rank + i] for i in range(2)])
                values = model(**model.data_preprocessor(batch, True), mode='loss')
                values = {'loss': sum(values.values()), **values}
                (values['loss'] / 2).backward()
                for name, value in values.items():
                    losses[name] = losses.get(name, 0.0) + value.item() / 2
            optimizer.step()
            optimizer.zero_grad()
            found[parts].append(losses)
    return found


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('parts', PARTS)
def test_uneven_processes_equal_a_plain_loop(runs, plain, parts, stage):
    for found, expected in zip(result(runs / f'{parts}_{stage}')['losses'], plain[parts], strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
