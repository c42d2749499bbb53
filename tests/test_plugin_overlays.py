"""Overlays of a plugin: found by --swap in every config that imports it, listed, and with the memory of its own strategy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_mm.apis.checking import check_config
from lisa_mm.apis.listing import list_parts
from lisa_mm.config import load_config
from lisa_mm.errors import ConfigError
from lisa_mm.registry import STRATEGIES

ROOT = Path(__file__).parents[1]
NANO = ROOT / 'configs' / 'lisa' / 'lisa_nano_pretrain.py'
STRATEGY = """
from lisa_mm.engine.strategies import LisaDDPStrategy, MemoryPlan
from lisa_mm.registry import STRATEGIES


@STRATEGIES.register_module()
class PlugDividedStrategy(LisaDDPStrategy):
    @classmethod
    def memory_plan(cls, config, *, processes, micro_batch, device):
        return MemoryPlan(1, processes=processes, bucket=1_000_000, device=device)
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config that imports a module deep inside a package with overlays, which is on the path."""
    package = tmp_path / 'site' / 'plug_overlays'
    overlays = package / 'configs' / '_base_' / 'strategies'
    overlays.mkdir(parents=True)
    (package / '__init__.py').write_text('')
    (package / 'strategies.py').write_text(STRATEGY)
    (overlays / 'divided.py').write_text('"""The optimizer is divided."""\n\nstrategy = dict(type="PlugDividedStrategy")\n')
    (overlays / 'ddp.py').write_text('strategy = dict(type="LisaDDPStrategy", bf16=True)\n')
    (overlays / 'empty.py').write_text('strateggy = dict(type="LisaDDPStrategy")\n')
    path = tmp_path / 'runs' / 'own.py'
    path.parent.mkdir()
    path.write_text(f'_base_ = [{str(NANO)!r}]\ncustom_imports = dict(imports=["plug_overlays.strategies"])\n')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    yield path
    STRATEGIES.module_dict.pop('PlugDividedStrategy', None)
    for name in ('plug_overlays', 'plug_overlays.strategies'):
        sys.modules.pop(name, None)


def test_its_strategy_is_swapped_in_and_says_its_memory(config):
    report = check_config(config, ['strategy=divided'], ['data_root=no_such_folder'], gpus=2, gpu_memory=24)
    assert report['faults'] == []
    trained = sum(part['trained'] for part in report['parameters'].values())
    assert report['memory']['optimizer'] == pytest.approx(12 * trained / 2, abs=12)  # float32 weights and two moments
    assert report['memory']['fits']


def test_it_is_listed(config):
    strategies = list_parts(config=config)['overlays']['strategy']
    assert strategies['divided'] == 'The optimizer is divided.'
    assert 'zero3_bf16' in strategies  # those that ship are there too
    assert 'divided' not in list_parts()['overlays']['strategy']


def test_the_nearest_of_a_name_counts(config):
    def half() -> bool | None:
        return load_config(config, ['strategy=ddp']).strategy.get('bf16')

    assert half() is True  # the plugin's: the shipped one does not set it
    beside = config.parent / '_base_' / 'strategies' / 'ddp.py'
    beside.parent.mkdir(parents=True)
    beside.write_text('strategy = dict(type="LisaDDPStrategy", bf16=False)\n')
    assert half() is False


def test_an_unknown_name_knows_the_plugins(config):
    with pytest.raises(ConfigError, match=r"no strategy of this name.*Did you mean 'divided'"):
        load_config(config, ['strategy=dividet'])
    with pytest.raises(ConfigError, match=r"empty.py sets no 'strategy'. Write strategy = dict"):
        load_config(config, ['strategy=empty'])


@pytest.mark.slow
def test_the_command_with_the_example_plugin():
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'examples' / 'my_dataset')])}
    command = [
        sys.executable,
        'tools/check_config.py',
        'examples/my_dataset/config.py',
        '--swap',
        'strategy=ddp',
        'projector=gated',
    ]
    done = subprocess.run([*command, '--gpus', '2'], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert 'mllm.projector         GatedProjector' in done.stdout
    assert 'of each of 2 GPUs' in done.stdout
