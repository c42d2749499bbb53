"""What each shipped config and overlay trains, and which of its modules stay in eval mode, against a record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lisa_mm.config import compile_with_model, load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
RECORD = Path(__file__).with_name('what_trains.json')
SHOWN = 5  # longer lists of modules are recorded as a count and a hash
OPTIONS = {
    'full': ['model.lora=None', 'model.tuning=full'],
    'new_rows': ['model.train_embeddings=new_rows'],
    'frozen': ['model.lora=None', 'model.tuning=frozen', 'model.train_embeddings=False'],
}
FOLDERS = ('language_models', 'lora', 'mask_decoders', 'mllms', 'vision_towers')


def cases() -> dict[str, tuple[str, list[str], list[str]]]:
    """Name -> config, swaps and options."""
    found: dict[str, tuple[str, list[str], list[str]]] = {}
    for path in sorted((CONFIGS / 'lisa').glob('*.py')):
        # its language model is made by a tool, and only its folder knows the architecture
        swaps = ['language_model=smollm2_135m'] if path.stem == 'lisa_smollm2_composites' else []
        found[path.stem] = (path.stem, swaps, [])
    for name, options in OPTIONS.items():
        found[f'options/{name}'] = ('lisa_nano', [], options)
    for folder in FOLDERS:
        for path in sorted((CONFIGS / '_base_' / folder).glob('*.py')):
            if path.stem == 'edgetam':  # only timm can build it
                continue
            swaps = [f'{folder.removesuffix("s")}={path.stem}']
            swaps += ['lora=all_linear_r16'] if folder == 'language_models' else []  # phi3 has no q_proj
            found[f'{folder}/{path.stem}'] = ('lisa_7b_mix', swaps, [])
    return found


CASES = cases()
LEAVES = [name for name in CASES if '/' not in name or name.startswith('options/')]


def digest(names: list[str]) -> str:
    return f'{len(names)} {hashlib.sha256(chr(10).join(sorted(names)).encode()).hexdigest()[:12]}'


def what_trains(model: nn.Module) -> dict[str, Any]:
    """Trained parameters, and the modules whose mode differs from that of the module around them."""
    modes = {name: module.training for name, module in model.train().named_modules()}
    assert modes['']
    turns = {
        mode: [name for name, own in modes.items() if own is mode and name and modes[name.rpartition('.')[0]] is not mode]
        for mode in (False, True)
    }
    assert not any(module.training for module in model.eval().modules())
    return {
        'trained': digest([name for name, parameter in model.named_parameters() if parameter.requires_grad]),
        **{
            key: turns[mode] if len(turns[mode]) <= SHOWN else digest(turns[mode])
            for key, mode in (('in eval mode', False), ('in train mode inside', True))
        },
    }


def check(name: str) -> None:
    config, swaps, options = CASES[name]
    _, model = compile_with_model(load_config(CONFIGS / 'lisa' / f'{config}.py', swaps, options))
    assert what_trains(model) == json.loads(RECORD.read_text())[name]


@pytest.mark.parametrize('name', LEAVES)
def test_leaf_configs(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in CASES if name not in LEAVES])
def test_overlays(name):
    check(name)
