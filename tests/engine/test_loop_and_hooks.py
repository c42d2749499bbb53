from __future__ import annotations

import re
import shutil

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EarlyStoppingHook, Hook
from toy import ToyDataset, collate, make_config, model_of
from transformers.integrations import is_deepspeed_zero3_enabled

from lisa_mm.checkpoints.folder import find_checkpoint, read_meta, trained_weights
from lisa_mm.engine import LisaRunner
from lisa_mm.errors import ConfigError, NonFiniteLossError

SINGLE = 'LisaSingleDeviceStrategy'

LINEAR = torch.nn.functional.linear


class Score(BaseMetric):
    """Gives a list of scores, one a validation; and draws random numbers, as a metric may."""

    def __init__(self, scores: list[float]):
        super().__init__(prefix='val_set')
        self.scores = iter(scores)

    def process(self, data_batch, data_samples) -> None:
        torch.rand(3)
        self.results.append(1)

    def compute_metrics(self, results: list) -> dict[str, float]:
        # 6 samples, one a batch: nothing is counted twice
        assert len(results) == 6
        return {'gIoU': next(self.scores), 'cIoU': 0.0}


def validation_loader() -> dict:
    return {
        'dataset': ToyDataset(length=6),
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'batch_size': 1,
        'collate_fn': collate,
    }


def run(
    tmp_path, *, scores: list[float] | None = None, hooks: list | None = None, config: dict | None = None, **options
) -> LisaRunner:
    options = {'work_dir': str(tmp_path / 'run'), 'experiment_name': tmp_path.name, 'strategy': SINGLE, 'max_iters': 4, **options}
    settings = make_config(options)
    if scores is not None:
        settings['val_dataloader'] = validation_loader()
        settings['val_evaluator'] = [Score(scores)]
        settings['val_cfg'] = {}
    settings.update(config or {})
    runner = LisaRunner(model_of(options), **settings, custom_hooks=hooks)
    runner.train()
    return runner


class Recorder(Hook):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.samples: list[list[str]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.calls.append(f'before {batch_idx} of {runner.iter}')
        self.samples.append([sample.sample_id for sample in data_batch['data_samples']])  # pyright: ignore[reportCallIssue, reportOptionalSubscript] - a batch is a dict here

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.calls.append(f'after {batch_idx} {sorted(outputs)}')

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.calls.append(f'val {runner.iter}')


def test_an_iteration_is_an_optimizer_step_and_validation_is_at_the_interval_and_the_end(tmp_path):
    recorder = Recorder()
    run(tmp_path, scores=[0.1, 0.2], hooks=[recorder], max_iters=3, accumulation=5, train_cfg={'val_interval': 2})
    after = "['loss', 'loss_ce', 'loss_mask']"
    assert recorder.calls == [
        *('before 0 of 0', f'after 0 {after}', 'before 1 of 1', f'after 1 {after}', 'val 2'),
        *('before 2 of 2', f'after 2 {after}', 'val 3'),
    ]
    # 5 micro-batches of 2 samples an iteration
    assert recorder.samples == [['sample_0', 'sample_1'], ['sample_10', 'sample_11'], ['sample_20', 'sample_21']]


def test_validation_before_the_first_step_is_where_the_scores_begin(tmp_path):
    recorder = Recorder()
    options = {'interval': 1, 'save_best': 'gIoU', 'max_iters': 1, 'train_cfg': {'val_at_start': True}}
    run(tmp_path, scores=[0.3, 0.2], hooks=[recorder], **options)
    assert [call for call in recorder.calls if call.startswith('val')] == ['val 0', 'val 1']
    assert find_checkpoint(tmp_path / 'run', prefer='best').name == 'best_gIoU_iter_0'


def test_the_best_checkpoint_and_its_score_survive_a_resume(tmp_path):
    options = {'train_cfg': {'val_interval': 1}, 'interval': 1, 'save_best': 'gIoU'}
    run(tmp_path, scores=[0.1, 0.7, 0.3], max_iters=3, total_iters=6, **options)
    work_dir = tmp_path / 'run'
    # the resumed run validates iteration 3 again, then 4 to 6
    run(tmp_path, scores=[0.3, 0.5, 0.6, 0.2], max_iters=6, resume=True, **options)
    assert sorted(path.name for path in work_dir.glob('*iter_*')) == ['best_gIoU_iter_2', 'iter_5', 'iter_6']
    assert read_meta(work_dir / 'best_gIoU_iter_2')['best_score'] == 0.7
    assert read_meta(work_dir / 'iter_6')['best_score'] == 0.7
    assert find_checkpoint(work_dir, prefer='best').name == 'best_gIoU_iter_2'
    assert not (work_dir / 'best_gIoU_iter_2' / 'state').exists()
    run(tmp_path, scores=[0.2, 0.8], max_iters=7, resume=True, **options)
    assert sorted(path.name for path in work_dir.glob('best_*')) == ['best_gIoU_iter_7']


def test_a_new_run_in_a_used_folder_keeps_the_earlier_checkpoints(tmp_path):
    options = {'train_cfg': {'val_interval': 1, 'val_at_start': True}, 'interval': 1, 'save_best': 'gIoU'}
    run(tmp_path, scores=[0.1, 0.7, 0.3], max_iters=2, **options)
    work_dir = tmp_path / 'run'
    earlier = {path.name: read_meta(path) for path in work_dir.glob('*iter_*')}
    assert earlier.keys() == {'best_gIoU_iter_1', 'iter_1', 'iter_2'}
    for number in (1, 2):
        run(tmp_path, scores=[0.2, 0.1], max_iters=1, **options)
        assert sorted(path.name for path in work_dir.glob('*iter_*')) == ['best_gIoU_iter_0', 'iter_1']
        assert (work_dir / f'earlier_{number}' / 'last_checkpoint').is_file()
    assert {path.name: read_meta(path) for path in (work_dir / 'earlier_1').glob('*iter_*')} == earlier
    assert find_checkpoint(work_dir / 'earlier_1', prefer='best').name == 'best_gIoU_iter_1'
    # an evaluation, a resume and a beginning from an earlier checkpoint of the folder
    run(tmp_path, scores=[0.1, 0.3], max_iters=2, resume=True, **options)
    assert not (work_dir / 'earlier_3').exists()
    run(tmp_path, scores=[0.3, 0.1], max_iters=1, load_from=str(work_dir), **options)
    assert (work_dir / 'earlier_3' / 'iter_2').is_dir()


def test_training_that_is_stopped_early_is_saved(tmp_path):
    early = EarlyStoppingHook('val_set/gIoU', rule='greater', patience=1, min_delta=0.01)
    options = {'train_cfg': {'val_interval': 1}, 'max_iters': 9, 'interval': 0, 'save_best': None}
    runner = run(tmp_path, scores=[0.5] * 9, hooks=[early], **options)
    assert runner.iter == 2
    assert find_checkpoint(tmp_path / 'run').name == f'iter_{runner.iter}'
    assert read_meta(tmp_path / 'run' / f'iter_{runner.iter}')['iter'] == runner.iter


def test_a_copy_of_the_best_checkpoint_is_not_taken_for_one(tmp_path):
    run(tmp_path, scores=[0.1, 0.2], max_iters=1, interval=1, save_best='gIoU', train_cfg={'val_interval': 1})
    work_dir = tmp_path / 'run'
    shutil.copytree(work_dir / 'best_gIoU_iter_1', work_dir / 'best_gIoU_iter_1_keep')
    assert find_checkpoint(work_dir, prefer='best').name == 'best_gIoU_iter_1'


def test_validation_does_not_change_what_is_trained(tmp_path):
    options = {'model': {'dropout': 0.5}}
    plain = run(tmp_path / 'a', **options)
    validated = run(tmp_path / 'b', scores=[0.1] * 4, train_cfg={'val_interval': 1}, **options)
    for expected, found in zip(plain.model.parameters(), validated.model.parameters(), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize('stage', [None, 0, 1, 2, 3])
@pytest.mark.parametrize('bf16', [False, True])
def test_evaluation_needs_no_optimizer(tmp_path, stage, bf16):
    trained = run(tmp_path / 'trained', interval=4)
    strategy = {'type': SINGLE} if stage is None else {'type': 'LisaDeepSpeedStrategy', 'zero_stage': stage, 'bf16': bf16}
    runner = LisaRunner(
        model_of({}),
        work_dir=str(tmp_path / 'run'),
        experiment_name=tmp_path.name,
        strategy=strategy,
        test_dataloader=validation_loader(),
        test_evaluator=[Score([0.5])],
        test_cfg={},
        load_from=trained.work_dir,
    )
    assert runner.test() == {'val_set/gIoU': 0.5, 'val_set/cIoU': 0.0}
    expected = trained_weights(trained.strategy.module)
    for name, value in trained_weights(runner.strategy.module).items():
        assert torch.equal(value, expected[name].bfloat16().float() if bf16 and stage is not None else expected[name])
    # a later model of this process must not be sharded because this one was
    assert not is_deepspeed_zero3_enabled()
    assert torch.nn.functional.linear is LINEAR


def test_nan_stops_before_the_step_and_names_the_samples(tmp_path):
    with pytest.raises(NonFiniteLossError) as caught:
        # iteration 3 has the samples 8 to 11
        run(tmp_path, nan_at=10, interval=1)
    assert 'iteration 3 (process 0: ' in str(caught.value)
    assert 'loss_ce=nan' in str(caught.value)
    assert "samples ['sample_10', 'sample_11']" in str(caught.value)
    assert find_checkpoint(tmp_path / 'run').name == 'iter_2'


def test_broken_weights_are_not_saved(tmp_path):
    class Break(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if batch_idx == 2:
                runner.model.head.weight.data[0, 0] = float('inf')

    with pytest.raises(NonFiniteLossError, match=r'iter_3 is not saved: 1 trained tensors are not finite, first head\.weight'):
        run(tmp_path, interval=1, hooks=[Break()])
    assert find_checkpoint(tmp_path / 'run').name == 'iter_2'


def test_the_config_and_all_checkpoints_are_kept_when_asked(tmp_path):
    run(tmp_path, interval=1, max_keep=-1, config={'config_text': 'lr = 1\n'})
    assert sorted(path.name for path in (tmp_path / 'run').glob('iter_*')) == ['iter_1', 'iter_2', 'iter_3', 'iter_4']
    assert (tmp_path / 'run' / 'iter_4' / 'config.py').read_text() == 'lr = 1\n'


def test_one_progress_line_an_interval(tmp_path):
    runner = run(tmp_path)
    text = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'effective batch 4 = 2 a process x 2 accumulated x 1 processes' in text
    lines = re.findall(r'iter \d/4  loss \d\.\d+  loss_ce \d\.\d+  loss_mask \d\.\d+  lr \S+  \S+ s/iter  eta \d:\d\d:\d\d', text)
    assert len(lines) == runner.iter == 4
    assert 'Failed to search registry' not in text


def test_without_batch_size_a_batch_is_one_sample(tmp_path):
    """As torch's data loader has it."""
    loader = {'dataset': ToyDataset(), 'sampler': {'type': 'SeekableSampler'}, 'num_workers': 0, 'collate_fn': collate}
    assert run(tmp_path, config={'train_dataloader': loader}).strategy.micro_batch == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'max_iters': -1}, 'max_iters is -1'),
        ({'config': {'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 1}, 'clip_grad': {}}}}, r'strategy\.gradient_clipping'),
        ({'config': {'strategy': {'type': SINGLE, 'target_batch': 3}}}, r'target_batch is 3, .* one of \[2, 4, 6\]'),
        ({'config': {'strategy': {'type': 'SingleDeviceStrategy'}}}, "Did you mean 'LisaSingleDeviceStrategy'"),
        ({'strategy': 'LisaDeepSpeedStrategy', 'stage': 4}, 'zero_stage is 4'),
        ({'strategy': 'LisaDeepSpeedStrategy', 'more_strategy': {'bf16': True, 'fp16': True}}, 'both bf16=True and fp16=True'),
        ({'strategy': 'LisaDeepSpeedStrategy', 'more_strategy': {'fp16': True}}, 'fp16 needs a GPU'),
        ({'strategy': 'LisaDeepSpeedStrategy', 'more_strategy': {'fp16': True, 'zero_stage': 0}}, 'Give zero_stage=1'),
        ({'strategy': 'LisaDeepSpeedStrategy', 'more_strategy': {'offload': 'all'}}, "'all' needs 3"),
        ({'strategy': 'LisaDeepSpeedStrategy', 'more_strategy': {'zero_options': {'stage': 1}}}, 'give strategy.zero_stage'),
        ({'scores': [0.1], 'save_best': 'mIoU'}, r"save_best is 'mIoU'; validation gave \['val_set/cIoU', 'val_set/gIoU'\]"),
    ],
)
def test_user_errors(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, **{**options, 'work_dir': str(tmp_path / 'run')})


def test_a_sampler_that_cannot_seek_is_an_error(tmp_path):
    settings = make_config({'work_dir': str(tmp_path), 'experiment_name': tmp_path.name, 'strategy': SINGLE})
    settings['train_dataloader']['sampler'] = {'type': 'DefaultSampler', 'shuffle': True}
    with pytest.raises(ConfigError, match="'DefaultSampler', which cannot resume"):
        LisaRunner(model_of({}), **settings).train()


def test_a_model_without_trained_parameters_is_an_error(tmp_path):
    model = model_of({}).requires_grad_(False)
    settings = make_config({'work_dir': str(tmp_path), 'experiment_name': tmp_path.name, 'strategy': SINGLE})
    with pytest.raises(ConfigError, match='nothing to train'):
        LisaRunner(model, **settings).train()
