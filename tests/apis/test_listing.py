"""list_parts: what is registered says what it is and what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_mm.apis.listing import documented_arguments, list_parts, listing_text
from lisa_mm.errors import ConfigError

ROOT = Path(__file__).parents[2]
# other tests register parts of their own
PARTS = [
    (role, name, part)
    for role, parts in list_parts()['parts'].items()
    for name, part in parts.items()
    if part['module'].startswith('lisa_mm.')
]


def test_every_role_is_there():
    names = {name for _, name, _ in PARTS}
    wanted = {'LlavaMLLM', 'CLIPVisionTower', 'LinearProjector', 'CausalLM', 'SegTokenHead', 'SAMMaskDecoder', 'MaskDiceLoss'}
    wanted |= {'LISA', 'MixtureDataset', 'LoadImage', 'SeekableSampler', 'seg_collate', 'SegIoUMetric', 'LisaDDPStrategy'}
    assert names >= wanted | {'IterTrainLoop', 'WarmupDecayLR', 'SafeCheckpointHook'}
    assert not names & {'Normalize', 'ConcatDataset', 'EMAHook'}  # mmcv's and mmengine's


@pytest.mark.parametrize(('role', 'name', 'part'), PARTS, ids=[name for _, name, _ in PARTS])
def test_every_part_has_a_summary_and_says_what_each_argument_is(role, name, part):
    assert len(part['summary']) > 10
    silent = [key for key, entry in part['arguments'].items() if not entry['about']]
    assert not silent, f'{role} {name}: {silent} are not in the docstring'


def test_one_name_shows_defaults_and_what_they_are():
    text = listing_text(list_parts('SegTokenHead'), verbose=True)
    assert "state='predicting': ``'predicting'`` takes the state before" in text
    assert '--swap' not in text


def test_an_unknown_name_shows_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'SegTokenHead'"):
        list_parts('SegTokenHaed')
    with pytest.raises(ConfigError, match='--swap strategy=ddp'):
        list_parts('ddp')


def test_benchmarks_have_a_title_and_splits():
    listing = list_parts()
    assert listing['benchmarks']['refcoco'] == {'title': 'refCOCO', 'splits': ['val', 'testA', 'testB']}
    assert '--benchmarks ...\n' in (text := listing_text(listing))
    assert '\n  refcoco: refCOCO (val, testA, testB)' in text
    assert list_parts('LISA')['benchmarks'] == {}


def test_overlays_have_a_summary():
    overlays = list_parts()['overlays']
    assert {'ddp', 'single_device', 'zero3_offload_bf16'} <= set(overlays['strategy'])
    assert all(summary for names in overlays.values() for summary in names.values())


def test_arguments_of_a_docstring():
    def part(first, second, third):
        """Does.

        Args:
            first: One
                of two lines.
            second, third: Both.

        Raises:
            ValueError: never.
        """

    assert documented_arguments(part) == {'first': 'One of two lines.', 'second': 'Both.', 'third': 'Both.'}


@pytest.mark.slow
def test_the_command_lists_plugins_too():
    config = 'examples/my_dataset/config.py'
    env_path = str(ROOT / 'examples' / 'my_dataset')
    command = f'import sys; sys.path.insert(0, {env_path!r}); sys.argv = ["list_parts", "--config", {config!r}, "--json"]; '
    command += 'import runpy; runpy.run_path("tools/list_parts.py", run_name="__main__")'
    done = subprocess.run([sys.executable, '-c', command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listing = json.loads(done.stdout[done.stdout.index('{') :])
    assert 'BoxDataset' in listing['parts']['dataset']
