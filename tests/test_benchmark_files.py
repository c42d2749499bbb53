"""Each file of configs/_base_/benchmarks: its form, and its data sets on small files in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image

from lisa_mm.datasets.refer_seg import SPLIT_BY
from lisa_mm.errors import DataError
from lisa_mm.registry import DATASETS

from .datasets import test_reason_seg_parquet as parquet_files
from .datasets.refer_files import ref, write_refer

FOLDER = Path(__file__).parents[1] / 'configs/_base_/benchmarks'
UNC = ['val', 'testA', 'testB']
# file -> title, splits, metric, the kinds of the rows that the small files below have
EXPECTED = {
    'reasonseg': ('ReasonSeg', ['val', 'test'], 'SegIoUMetric', ['short']),
    'reasonseg_parquet': ('ReasonSeg (parquet)', ['val', 'test'], 'SegIoUMetric', []),
    'refcoco': ('refCOCO', UNC, 'ReferIoUMetric', []),
    'refcoco_plus': ('refCOCO+', UNC, 'ReferIoUMetric', []),
    'refcocog': ('refCOCOg', ['val', 'test'], 'ReferIoUMetric', []),
    'grefcoco': ('gRefCOCO', UNC, 'GeneralizedReferMetric', ['target', 'no_target']),
    'fprefcoco': ('FP-RefCOCO', ['val'], 'FalsePremiseMetric', ['true', 'false']),
    'fprefcoco_plus': ('FP-RefCOCO+', ['val'], 'FalsePremiseMetric', ['true', 'false']),
    'fprefcocog': ('FP-RefCOCOg', ['val'], 'FalsePremiseMetric', ['true', 'false']),
    'r_refcoco': ('R-RefCOCO', ['val'], 'RobustReferMetric', ['true', 'false']),
    'r_refcoco_plus': ('R-RefCOCO+', ['val'], 'RobustReferMetric', ['true', 'false']),
    'r_refcocog': ('R-RefCOCOg', ['val'], 'RobustReferMetric', ['true', 'false']),
}


def benchmark(name):
    return Config.fromfile(FOLDER / f'{name}.py').to_dict()['benchmark']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('root')
    splits = (*UNC, 'test')
    for name, author in SPLIT_BY.items():
        if name == 'grefcoco':
            refs = [entry for s in splits for entry in (ref(1, [1, 2], 'two dogs', split=s), ref(2, [-1], 'a cat', split=s))]
            write_refer(root, name, 'grefs(unc).json', refs)
        elif name.startswith(('fp', 'rr')):
            flag = {'is_false_premise': True} if name.startswith('fp') else {'exist': False}
            write_refer(root, name, f'refs({author}).p', [ref(1, 1, 'the dog', {'sent': 'the cat', **flag})])
        else:
            write_refer(root, name, f'refs({author}).p', [ref(n, 1, 'the dog', split=s) for n, s in enumerate(splits)])
    for split in ('val', 'test'):
        folder = root / 'reason_seg/ReasonSeg' / split
        folder.mkdir(parents=True)
        Image.new('RGB', (10, 8)).save(folder / '1.jpg')
        shapes = [{'label': 'target', 'points': [[1, 1], [5, 1], [5, 4]]}]
        (folder / '1.json').write_text(json.dumps({'text': ['the dog'], 'is_sentence': False, 'shapes': shapes}))
        file = f'reason_seg/ReasonSeg_{split}/data/test-00000-of-00001.parquet'  # both are called test where they are published
        parquet_files.write(root, [parquet_files.row(1)], file=file)
    return root


def test_every_file_is_expected():
    # others write theirs beside these
    assert set(EXPECTED) <= {path.stem for path in FOLDER.glob('*.py')}


@pytest.mark.parametrize('name', EXPECTED)
def test_form_and_data(name, root):
    title, splits, metric, kinds = EXPECTED[name]
    content = benchmark(name)
    assert list(content) == ['title', 'splits', 'metrics']
    assert (content['title'], list(content['splits']), content['metrics']) == (title, splits, [{'type': metric}])
    for entry in content['splits'].values():
        assert entry['test_mode'] is True and 'data_root' not in entry
        dataset = DATASETS.build({**entry, 'data_root': str(root), 'cache_index': False})
        sample = dataset[0]
        assert [fact['kind'] for fact in sample['facts']] == kinds
        assert len(sample['conversations']) == max(len(kinds), 1)


@pytest.mark.parametrize('name', EXPECTED)
def test_absent_files_are_named(name, tmp_path):
    for entry in benchmark(name)['splits'].values():
        with pytest.raises(DataError) as caught:
            DATASETS.build({**entry, 'data_root': str(tmp_path), 'cache_index': False})
        assert str(tmp_path) in caught.value.file and not Path(caught.value.file).exists()
