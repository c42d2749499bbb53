"""Benchmarks by name, and several in one run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from lisa_mm import get_config
from lisa_mm.apis import benchmarking
from lisa_mm.apis.benchmarking import Settings, run_benchmarks
from lisa_mm.apis.benchmarks import find_splits, known_benchmarks
from lisa_mm.apis.scores import result_line_of, scores_table
from lisa_mm.engine.judging import JudgingLoop
from lisa_mm.errors import ConfigError, DataError, UserError
from lisa_mm.evaluation.results import read_results, rows_of
from lisa_mm.models import LISA
from lisa_mm.registry import DATASETS
from lisa_mm.reporting import write_report
from lisa_mm.reporting.pairing import pair
from lisa_mm.testing.tiny import MODEL, PIPELINE, training

SQUARE = [[4, 4], [30, 4], [30, 30], [4, 30]]
FILE = """
benchmark = dict(
    title='Cups & balls',
    splits=dict(
        val=dict(type='JsonlSegDataset', file='val.jsonl', test_mode=True),
        test=dict(type='JsonlSegDataset', file='test.jsonl', test_mode=True),
        gone=dict(type='JsonlSegDataset', file='gone.jsonl', test_mode=True),
    ),
    metrics=[dict(type='SegIoUMetric')],
)
"""


@pytest.fixture
def config(tmp_path) -> Config:
    """A tiny model, and a benchmark file cups.py beside its data."""
    data = tmp_path / 'data'
    data.mkdir()
    for name in ('a.png', 'b.png'):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(data / name)
    rows = [{'image': name, 'phrase': 'the cup', 'masks': [SQUARE]} for name in ('a.png', 'b.png')]
    for split, found in (
        ('val', rows[:1]),
        ('test', [*rows, {'image': 'a.png', 'phrase': 'the ball', 'masks': []}]),
        ('train', rows),
    ):
        (data / f'{split}.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in found))
    (tmp_path / 'cups.py').write_text(FILE)
    config = training(copy.deepcopy(MODEL), data, LISA)
    config.data_root = str(data)
    dataset = dict(type='JsonlSegDataset', file='test.jsonl', test_mode=True, pipeline=copy.deepcopy(PIPELINE))
    config.test_dataloader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='seg_collate'),
        dataset=dataset,
    )
    config.test_cfg, config.test_evaluator = dict(), [dict(type='SegIoUMetric')]
    return config


def run(config: Config, *names: str, folder: Path | None = None, **settings: Any) -> Any:
    return run_benchmarks(config, None, names, out=folder, settings=Settings(**{'max_new_tokens': 4, **settings}))


def test_both_protocols_and_a_split_whose_file_is_absent(config, tmp_path):
    results = run(config, str(tmp_path / 'cups.py'), folder=tmp_path / 'out', answers=('given', 'generated'))
    status = {(one.split, one.protocol): one.status for one in results.runs}
    assert status == {
        **{(split, protocol): 'done' for split in ('val', 'test') for protocol in ('given', 'generated')},
        **{('gone', protocol): 'absent' for protocol in ('given', 'generated')},
    }
    gone = next(one for one in results.runs if one.split == 'gone')
    assert 'gone.jsonl is missing' in (gone.why or '')
    test = next(one for one in results.runs if one.name == 'cups test given')
    assert test.counts == {'records': 3, 'questions': 3, 'images': 2}
    assert test.emission_rate is None
    low, value, high = test.scores['gIoU'].low, test.scores['gIoU'].value, test.scores['gIoU'].high
    assert low is not None and high is not None and low <= value <= high
    said = next(one for one in results.runs if one.name == 'cups test generated')
    assert said.emission_rate is not None and 0 <= said.emission_rate <= 1
    assert read_results(tmp_path / 'out') == results
    judged = rows_of(test, tmp_path / 'out')
    assert judged is not None and [one.sample_id for one in judged] == ['a.png#0', 'a.png#1', 'b.png#0']
    assert test.metrics == [{'type': 'SegIoUMetric'}]
    assert set(pair(test, test, judged, judged).differences) == {name for name in test.scores if name != 'num_masks'}
    page = write_report([tmp_path / 'out'], tmp_path / 'out' / 'report.html').read_text(encoding='utf-8')
    assert 'Cups &amp; balls test' in page and 'gone.jsonl is missing' in page
    text = scores_table(results)
    assert 'Cups & balls' in text and 'cups gone given: ' in text and 'not run' in text
    assert result_line_of(results, ['cups']).startswith('RESULT split=val gIoU=')
    assert result_line_of(results, ['cups']).endswith(' n=1')


def test_what_is_finished_is_taken_over(config, tmp_path, monkeypatch):
    names, out = (f'{tmp_path}/cups.py:test',), tmp_path / 'out'
    first = run(config, *names, folder=out)

    def again(self, limit=None):
        raise AssertionError('it was judged a second time')

    monkeypatch.setattr(JudgingLoop, 'run', again)
    assert run(config, *names, folder=out).runs == first.runs
    # another question: the split is another one
    with (tmp_path / 'data' / 'test.jsonl').open('a') as file:
        file.write(json.dumps({'image': 'b.png', 'phrase': 'the hat', 'masks': [SQUARE]}) + '\n')
    with pytest.raises(AssertionError, match='a second time'):
        run(config, *names, folder=out)


def test_results_of_another_model_are_not_mixed(config, tmp_path):
    run(config, f'{tmp_path}/cups.py:val', folder=tmp_path / 'out')
    config.model.losses.bce.weight = 3.0
    with pytest.raises(UserError, match='holds results of another model config'):
        run(config, f'{tmp_path}/cups.py:val', folder=tmp_path / 'out')


def test_a_limit_is_said(config, tmp_path):
    results = run(config, f'{tmp_path}/cups.py:test', folder=tmp_path / 'out', limit=2)
    (only,) = results.runs
    assert (only.status, only.limit, only.counts['records']) == ('limited', 2, 2)
    assert 'only the first 2 records' in scores_table(results)
    assert result_line_of(results, []).endswith(' limit=2')
    # the whole set is another run
    assert run(config, f'{tmp_path}/cups.py:test', folder=tmp_path / 'out').runs[0].status == 'done'


def test_the_configs_own_test_data(config, tmp_path):
    (only,) = run(config).runs
    assert (only.benchmark, only.split, only.rows) == ('own', 'test', None)
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        config.pop(key)
    with pytest.raises(ConfigError, match='Name a benchmark by --benchmarks'):
        run(config)


def test_nothing_to_run_and_damaged_data(config, tmp_path):
    with pytest.raises(UserError, match=r'no benchmark can be run:\ncups gone: gone.jsonl|no benchmark can be run:\ncups gone'):
        run(config, f'{tmp_path}/cups.py:gone')
    (tmp_path / 'data' / 'val.jsonl').write_text('{"image": \n')
    with pytest.raises(DataError, match=r'val\.jsonl'):
        run(config, f'{tmp_path}/cups.py:val')


def test_unknown_names_show_the_nearest(config, tmp_path):
    with pytest.raises(ConfigError, match=r"benchmark 'refcooc' is unknown.*refcoco"):
        run(config, 'refcooc')
    with pytest.raises(ConfigError, match=r"has no split 'tset'.*test.* It has: val, test, gone"):
        run(config, f'{tmp_path}/cups.py:tset')
    (tmp_path / 'wrong.py').write_text("benchmark = dict(title='x', split=dict())")
    with pytest.raises(ConfigError, match=r"write benchmark = dict\(.*it has \['split', 'title'\]"):
        find_splits([f'{tmp_path}/wrong.py'])
    (tmp_path / 'metric.py').write_text(FILE.replace('SegIoUMetric', 'SegIouMetric'))
    with pytest.raises(ConfigError, match=r"metric: .*'SegIouMetric' is unknown.*SegIoUMetric"):
        find_splits([f'{tmp_path}/metric.py'])
    (tmp_path / 'data.py').write_text(FILE.replace("'JsonlSegDataset', file='gone", "'JsonSegDataset', file='gone"))
    with pytest.raises(ConfigError, match=r"data gone: .*'JsonSegDataset' is unknown.*JsonlSegDataset"):
        find_splits([f'{tmp_path}/data.py'])
    with pytest.raises(ConfigError, match=r"answers are \['said'\]; allowed: 'given', 'generated'"):
        Settings(answers=('said',))
    with pytest.raises(ConfigError, match='limit is 0; give at least 1'):
        Settings(limit=0)


def test_every_shipped_benchmark_names_data_sets_and_metrics():
    known = dict(known_benchmarks(Path(get_config('lisa/lisa_nano'))))
    assert {'reasonseg', 'refcoco', 'grefcoco', 'muse', 'gcg'} <= set(known)
    for name, splits in known.items():
        for split in splits:
            assert split.dataset['test_mode'] is True, name
            assert DATASETS.get(split.dataset['type']) is not None, name
            assert split.build_metrics(), name


def test_the_hash_of_a_split_follows_what_is_asked(config, tmp_path):
    def of(limit: int | None = None) -> str:
        split = find_splits([f'{tmp_path}/cups.py:test'])[0]
        dataset = split.build_dataset(data_root=str(tmp_path / 'data'))
        return benchmarking.split_hash(dataset, limit)

    first = of()
    assert of() == first
    assert of(2) != first
    path = tmp_path / 'data' / 'test.jsonl'
    path.write_text(path.read_text().replace('the ball', 'the bell'))
    assert of() != first


def test_images_of_a_split_that_were_trained_on_are_said(config, tmp_path):
    from lisa_mm.apis.training import build_runner

    work = tmp_path / 'work'
    build_runner(config, work_dir=work).train()
    (tmp_path / 'data' / 'new.jsonl').write_text(json.dumps({'image': 'c.png', 'phrase': 'the cup', 'masks': [SQUARE]}) + '\n')
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / 'data' / 'c.png')
    (tmp_path / 'more.py').write_text(FILE.replace('gone', 'new'))
    names = [f'{tmp_path}/more.py:{split}' for split in ('test', 'new')]
    results = run_benchmarks(config, work, names, settings=Settings(max_new_tokens=4))
    shared = {one.split: one.shared_images for one in results.runs}
    assert shared['test'] is not None and shared['test'].images == 2
    assert shared['new'] is not None and shared['new'].images == 0
    assert results.trained_on == shared['test'].data_sets
    warnings = [line for line in scores_table(results).splitlines() if line.startswith('WARNING')]
    assert warnings == ['WARNING more test given: 2 of 2 images are in the training data (train.jsonl).']
