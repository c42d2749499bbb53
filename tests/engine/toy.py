"""A toy model and data set, and a program that trains them: the tests run it in processes of their own.

``python toy.py '{"work_dir": ..., ...}'`` trains and writes ``result_<rank>.json`` and ``final.pt`` into the work folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

from lisa_mm.datasets.collate import seg_collate

VOCABULARY, WIDTH = 16, 8


class ToyDataset(Dataset):
    """Sample n is a pure function of n; every fifth has no mask, and n = nan_at has a bad value."""

    def __init__(self, *, nan_at: int = -1, empty_rank_of: int = 0, length: int | None = None):
        self.nan_at, self.empty_rank_of, self.length = nan_at, empty_rank_of, length
        self.seen: list[int] = []  # in this process

    def __len__(self) -> int:
        return self.length or 100

    def __getitem__(self, index: int) -> dict:
        self.seen.append(index)
        generator = torch.Generator().manual_seed(index)
        tokens = torch.randint(VOCABULARY, (4,), generator=generator)
        target = torch.randn(3, generator=generator)
        if index == self.nan_at:
            target[0] = float('nan')
        # with empty_rank_of = b, all samples of one rank's first batch of b are without masks
        masks = 0 if index < self.empty_rank_of or index % 5 == 4 else 1
        sample = BaseDataElement(metainfo={'sample_id': f'sample_{index}', 'masks': masks})
        return {'inputs': {'tokens': tokens, 'target': target}, 'data_samples': sample}


def collate(samples: list[dict]) -> dict:
    inputs = {key: torch.stack([sample['inputs'][key] for sample in samples]) for key in ('tokens', 'target')}
    return {'inputs': inputs, 'data_samples': [sample['data_samples'] for sample in samples]}


class ToyModel(BaseModel):
    """A trained embedding, a frozen linear layer, a trained linear layer; dropout, so that the random state matters."""

    def __init__(self, *, dropout: float = 0.0, frozen_seed: int = 1, width: int = WIDTH, unused: bool = False):
        super().__init__()
        self.unused = unused
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.frozen = nn.Linear(width, width)
        self.frozen.from_file = True  # as a pretrained part
        self.head = nn.Linear(width, 3)
        self.mask_head = nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        generator.manual_seed(frozen_seed)
        for parameter in self.frozen.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.requires_grad_(False)

    def forward(self, inputs: dict, data_samples: list, mode: str = 'loss') -> dict | list:
        dtype = self.head.weight.dtype
        hidden = self.dropout(torch.tanh(self.frozen(self.embedding(inputs['tokens'])))).mean(dim=1)
        predicted = self.head(hidden)
        if mode == 'predict':
            return data_samples
        has_mask = torch.tensor([float(sample.masks) for sample in data_samples], dtype=dtype)
        # a batch without masks touches the mask head with weight 0, or with ``unused`` not at all
        touched = bool(has_mask.any()) or not self.unused
        return {
            'loss_ce': (predicted - inputs['target'].to(dtype)).square().mean(),
            'loss_mask': (self.mask_head(hidden).squeeze(1).square() * has_mask).sum() if touched else hidden.sum() * 0,
        }


class LISADataset(Dataset):
    """Small samples through the real transforms; what sample n talks about is ``talks[n]``, a key of ``whole.TALK``."""

    def __init__(self, model: Any, talks: list[str]):
        self.model, self.talks = model, talks

    def __len__(self) -> int:
        return len(self.talks)

    def __getitem__(self, index: int) -> dict:
        from tests.models.whole import sample

        return sample(self.model, [(40, 56), (33, 20)][index % 2], self.talks[index], index)


def data_of(options: dict, model: Any) -> tuple[Dataset, Any]:
    """The data set and how its samples are put together."""
    if 'talks' in options:
        return LISADataset(model, options['talks']), partial(seg_collate, pad_token_id=3)
    return ToyDataset(nan_at=options.get('nan_at', -1), empty_rank_of=options.get('empty_rank_of', 0)), collate


def make_config(options: dict, model: Any = None) -> dict:
    dataset, put_together = data_of(options, model)
    strategy = {'type': options.get('strategy', 'LisaDeepSpeedStrategy'), 'gradient_clipping': options.get('clip', 1.0)}
    if strategy['type'] == 'LisaDeepSpeedStrategy':
        strategy['zero_stage'] = options.get('stage', 2)
    strategy.update(options.get('more_strategy', {}))
    strategy['accumulation'] = options.get('accumulation', 2)
    max_iters = options.get('max_iters', 5)
    return {
        'work_dir': options['work_dir'],
        'experiment_name': options.get('experiment_name', options['work_dir'].replace('/', '_')),
        'train_dataloader': {
            'dataset': dataset,
            'sampler': {'type': 'SeekableSampler'},
            'batch_size': options.get('batch_size', 2),
            'num_workers': options.get('num_workers', 0),
            'collate_fn': put_together,
        },
        'train_cfg': {'type': 'IterTrainLoop', 'max_iters': max_iters, **options.get('train_cfg', {})},
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 0.01, 'betas': (0.9, 0.95), 'weight_decay': 0.0}},
        'param_scheduler': {'type': 'WarmupDecayLR', 'total_iters': options.get('total_iters', max_iters), 'warmup_iters': 2},
        'strategy': strategy,
        'default_hooks': {
            'checkpoint': {
                'type': 'SafeCheckpointHook',
                'interval': options.get('interval', 0),
                'save_best': options.get('save_best'),
                'max_keep': options.get('max_keep', 2),
            },
            'logger': {'type': 'ProgressHook', 'interval': 1},
        },
        'randomness': {'seed': 3},
        'resume': options.get('resume', False),
        'load_from': options.get('load_from'),
        **options.get('more', {}),
    }


def model_of(options: dict) -> Any:
    """The toy, or with ``talks`` a small LISA; ``whole`` names the folder of a whole multimodal model for it."""
    if 'talks' in options:
        from tests.models.families import whole_model
        from tests.models.whole import build, put_together

        if 'whole' in options:
            folder = Path(options['whole']) / os.environ.get('RANK', '0')  # each process writes its own
            folder.mkdir(parents=True, exist_ok=True)
            mllm = whole_model('llava', folder)
        else:
            mllm = put_together()
        if options.get('train_vision'):
            trained = {'vision_frozen': False} if 'whole' in options else {'projector': {'type': 'MLPProjector', 'frozen': False}}
            mllm.update(trained)
        return build(mllm)
    return ToyModel(**options.get('model', {}))


def main(options: dict) -> None:
    torch.set_num_threads(1)
    from mmengine.hooks import Hook

    from lisa_mm.checkpoints import folder
    from lisa_mm.engine import LisaRunner
    from lisa_mm.errors import TrainingStopped, UserError

    class Recorder(Hook):
        def __init__(self) -> None:
            self.losses: list[dict] = []

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if batch_idx + 1 == options.get('signal_at') and runner.rank in options.get('signal_ranks', [0, 1]):
                os.kill(os.getpid(), options['signal'])
            if batch_idx + 1 == options.get('die_at') and runner.rank == options['die_rank']:
                os.kill(os.getpid(), signal.SIGKILL)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.losses.append(outputs)
            if batch_idx + 1 == options.get('kill_at', -1):
                os.kill(os.getpid(), signal.SIGKILL)

    if 'kill_in_save' in options:
        real = folder.sync_folder

        def die(path: Path) -> None:
            if path.name == f'.tmp_iter_{options["kill_in_save"]}':
                # half of the weights file is on the disk
                weights = path / folder.WEIGHTS
                weights.write_bytes(weights.read_bytes()[:100])
                os.kill(os.getpid(), signal.SIGKILL)
            real(path)

        folder.sync_folder = die

    recorder = Recorder()
    work_dir = Path(options['work_dir'])
    result = {'error': None}
    try:
        model = model_of(options)
        runner = LisaRunner(model, **make_config(options, model), custom_hooks=[*options.get('hooks', []), recorder])
        runner.train()
        result['samples'] = getattr(runner.train_dataloader.dataset, 'seen', None)
        weights = folder.trained_weights(runner.strategy.module)
        if runner.rank == 0:
            torch.save(weights, work_dir / 'final.pt')
    except TrainingStopped as stopped:
        result['stopped'] = [stopped.exit_status, str(stopped)]
    except UserError as error:
        result['error'] = f'{type(error).__name__}: {error}'
    result['losses'] = recorder.losses
    (work_dir / f'result_{os.environ["RANK"]}.json').write_text(json.dumps(result))


def run_killed(options: dict) -> None:
    """A run that kills itself, in a fork: the seconds of importing are spent once."""
    child = os.fork()
    if child == 0:
        main(options)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, options


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.models
    import lisa_mm.engine  # noqa: F401 - before the forks

    # several runs of one launch save the seconds of importing; the deepspeed launcher puts --local_rank first
    for run in json.loads(sys.argv[-1]):
        (run_killed if 'kill_at' in run or 'kill_in_save' in run else main)(run)
    # a C++ thread of torch that outlives the interpreter now and then aborts the process after all is written
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
