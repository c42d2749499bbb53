"""The mixture: proportions, a pure function of (seed, n), seeking, held-out images, and the order after a resume."""

from __future__ import annotations

import shutil
import time

import pytest
from torch.utils.data import DataLoader

from lisa_mm.datasets import MixtureDataset
from lisa_mm.engine.sampler import SeekableSampler
from lisa_mm.errors import ConfigError, DataError

from .golden_root import GOLDEN, copy_root

ROOT = str(GOLDEN)
SETS = dict(
    sem_seg=[dict(type='SemSegDataset', name=n) for n in ('ade20k', 'cocostuff', 'mapillary')]
    + [dict(type='PartSegDataset', name=n) for n in ('pascal_part', 'paco_lvis')],
    refer_seg=[dict(type='ReferSegDataset', name=n) for n in ('refclef', 'refcoco', 'refcoco+', 'refcocog', 'grefcoco')],
    vqa=[dict(type='VQADataset')],
    reason_seg=[dict(type='ReasonSegDataset')],
)


def mixture(root=ROOT, sets=SETS, **arguments):
    return MixtureDataset({g: [{**d, 'data_root': str(root)} for d in group] for g, group in sets.items()}, **arguments)


def key(sample):
    return sample['source'], sample['sample_id'], str(sample['conversations'])


def identity(batch):
    return [key(sample) for sample in batch]


@pytest.fixture(scope='module')
def mix():
    return mixture()


def test_proportions_within_three_sigma(mix):
    draws = 20_000
    counts: dict[str, int] = {}
    for n in range(draws):
        group, dataset = mix.draw(n)
        counts[group] = counts.get(group, 0) + 1
        counts[dataset.title] = counts.get(dataset.title, 0) + 1
    shares = {'sem_seg': 9 / 16, 'refer_seg': 3 / 16, 'vqa': 3 / 16, 'reason_seg': 1 / 16}
    for group, share in list(shares.items()):
        for dataset in mix.groups[group]:
            shares[dataset.title] = share / len(mix.groups[group])
    for name, share in shares.items():
        sigma = (draws * share * (1 - share)) ** 0.5
        assert abs(counts[name] - draws * share) < 3 * sigma, (name, counts[name], draws * share)


def test_images_of_a_data_set_alike(mix):
    """Within a turn of its own sequence an image comes at most once."""
    dataset = mix.groups['refer_seg'][1]
    for turn in range(5):
        seen = [dataset.record_index(turn * len(dataset) + i) for i in range(len(dataset))]
        assert sorted(seen) == list(range(len(dataset)))


def test_a_pure_function_of_seed_and_index(mix):
    other = mixture()
    far = 10**12
    for n in (5, 0, far, 5):
        assert key(mix[n]) == key(other[n])
    assert [key(mix[n]) for n in range(30)] != [key(s) for s in (mixture(seed=1)[n] for n in range(30))]


@pytest.mark.parametrize('workers', [0, 2])
def test_the_order_is_that_of_one_process_and_survives_a_resume(mix, workers):
    wanted = [identity([mix[2 * b], mix[2 * b + 1]]) for b in range(8)]

    def loader(start, rank=0, world=1, batch=2):
        sampler = SeekableSampler(mix, batch_size=batch, rank=rank, world_size=world)
        sampler.seek(samples=start * batch * world)
        batches = iter(DataLoader(mix, batch_size=batch, sampler=sampler, num_workers=workers, collate_fn=identity))
        return batches

    whole = loader(0)
    assert [next(whole) for _ in range(8)] == wanted
    resumed = loader(5)
    assert [next(resumed) for _ in range(3)] == wanted[5:]
    ranks = [loader(0, rank, 2) for rank in range(2)]
    assert [next(ranks[b % 2]) for b in range(8)] == wanted


def test_seeking_far_is_as_quick(mix):
    def seconds(start):
        begin = time.process_time()
        for n in range(start, start + 100):
            mix.draw(n)
            mix[n]
        return time.process_time() - begin

    seconds(0)
    assert min(seconds(400_000 * 160) for _ in range(3)) < 3 * min(seconds(0) for _ in range(3)) + 0.05


def test_exclude_val_by_image_id_and_by_content(tmp_path):
    root = copy_root(tmp_path / 'root')
    images = root / 'coco' / 'train2017'
    # the content of a ReasonSeg val image under a training name, and a refCOCO val image's id as one of COCO-Stuff
    shutil.copy(root / 'reason_seg/ReasonSeg/val/val_0.jpg', images / '000000033000.jpg')
    shutil.copy(images / '000000004000.jpg', images / '000000001051.jpg')
    shutil.copy(root / 'cocostuff/train2017/000000004000.png', root / 'cocostuff/train2017/000000001051.png')
    sets = dict(sem_seg=[dict(type='SemSegDataset', name='cocostuff')], vqa=[dict(type='VQADataset')])
    held_out = [
        dict(type='ReasonSegDataset', split='val', data_root=str(root)),
        dict(type='ReferSegDataset', name='refcoco', split='val', data_root=str(root)),
    ]
    before, after = mixture(root, sets), mixture(root, sets, exclude_val=held_out)
    assert after.excluded == {'cocostuff train2017': 1, 'vqa llava_instruct_150k.json': 1}
    assert len(after) == len(before) - 2
    names = {after[n]['sample_id'] for n in range(200)}
    assert 'cocostuff/000000001051.jpg' not in names
    assert 'llava_instruct_150k.json:0' not in names
    val = [dict(type='ReasonSegDataset', split='val')]
    with pytest.raises(DataError, match='no record left'):
        mixture(root, dict(reason_seg=val), exclude_val=held_out)


def test_faults_of_a_mixture():
    with pytest.raises(ConfigError, match="Did you mean 'refer_seg'"):
        MixtureDataset({'refer_segg': []})
    with pytest.raises(ConfigError, match=r'rates\.vqa'):
        mixture(rates={'vqa': -1})
    with pytest.raises(ConfigError, match='no data set'):
        MixtureDataset({'vqa': []})
    with pytest.raises(ConfigError, match='pipeline of its own'):
        MixtureDataset({'vqa': [dict(type='VQADataset', data_root=ROOT, pipeline=[dict(type='LoadImage')])]})


def test_a_fifth_group_needs_a_rate():
    sets = {'interactive': [dict(type='ReasonSegDataset', split='val')], **SETS}
    with pytest.raises(ConfigError, match=r"datasets.interactive has no rate: give rates=\{'interactive': ...\}"):
        mixture(sets=sets)
    mix = mixture(sets=sets, rates={'interactive': 4})
    assert mix.shares == {
        'sem_seg': 9 / 20,
        'refer_seg': 3 / 20,
        'vqa': 3 / 20,
        'reason_seg': 1 / 20,
        'interactive': 4 / 20,
    }
    drawn = [mix.draw(n)[0] for n in range(2000)]
    assert drawn.count('interactive') == pytest.approx(400, abs=60)
    assert mix[drawn.index('interactive')]['group'] == 'interactive'
    with pytest.raises(ConfigError, match=r"rates.interactiv: datasets has no such group. Did you mean 'interactive'"):
        mixture(sets=sets, rates={'interactive': 4, 'interactiv': 1})


def test_a_rate_of_nothing_leaves_a_group_out():
    mix = mixture(rates={'sem_seg': 0, 'vqa': 0})
    assert set(mix.groups) == {'refer_seg', 'reason_seg'}
    assert mix.shares == {'refer_seg': 0.75, 'reason_seg': 0.25}
