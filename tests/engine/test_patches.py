"""Changes of other libraries stand where a reader looks for them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mmengine._strategy.deepspeed as mmengine_deepspeed
import torch
from mmengine.registry import OPTIMIZERS
from torch import nn

import lisa_mm
from lisa_mm.engine import patches
from lisa_mm.models.base import BaseSegHead

PACKAGE = Path(lisa_mm.__file__).parent
# the environment of processes, and switches that torch offers
SETTINGS = ('os.environ', 'torch.backends')


class Head(BaseSegHead):
    """Two tensors of different lengths from one input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, hidden):
        out = self.linear(hidden)
        return [out[:1], out[1:]]


def changes(path: Path) -> Iterator[str]:
    """Assignments to a module or class of another library, to a method ``forward``, to an object's class."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    imports += [node for node in froms if not (node.module or '').startswith('lisa_mm')]
    foreign = {(alias.asname or alias.name).split('.')[0] for node in imports for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            target = ast.unparse(node)
            if target.endswith(('.forward', '.__class__')) or (
                target.split('.')[0] in foreign and not target.startswith(SETTINGS)
            ):
                yield target


def test_they_stand_in_one_file_and_in_the_one_it_names():
    found = {str(path.relative_to(PACKAGE)): sorted(changes(path)) for path in PACKAGE.rglob('*.py')}
    assert {name: targets for name, targets in found.items() if targets} == {
        'engine/patches.py': [
            'compiler.compile',
            "deepspeed.ops.__compatible_ops__['deepspeed_shm_comm']",
            *['deepspeed_engine.DeepSpeedEngine._broadcast_model'] * 2,  # replaced, and put back
            'mmengine_deepspeed.deepspeed',
            'mmengine_deepspeed.register_deepspeed_optimizers',
            'part.forward',
            "sys.modules['deepspeed']",
            'torch.nn.functional.linear',
        ],
        'models/precision.py': ['module.__class__'],
    }


def test_optimizers_are_registered_any_number_of_times():
    patches.register_todays_optimizers()
    for _ in range(2):
        for name in mmengine_deepspeed.register_deepspeed_optimizers():
            assert getattr(OPTIMIZERS.get(name), '__name__', None) == name


def test_hooks_between_see_one_tensor_and_callers_the_list():
    model = nn.ModuleDict({'head': Head()})
    hidden = torch.randn(3, 2)
    expected = model['head'](hidden)
    seen = []
    with patches.same_on_all_processes(model):
        model['head'].register_forward_hook(lambda part, arguments, output: seen.append(output[0].shape))
    found = model['head'](hidden)
    assert seen == [(6,)]
    assert [piece.tolist() for piece in found] == [piece.tolist() for piece in expected]


def test_deepspeed_is_loaded_when_a_strategy_uses_it():
    program = """
import sys
import lisa_mm.engine
assert 'deepspeed' not in sys.modules, 'loaded'
from transformers.integrations import is_deepspeed_available
assert is_deepspeed_available(), 'forgotten'
lisa_mm.engine.LisaDeepSpeedStrategy(zero_stage=2)
import mmengine._strategy.deepspeed as mmengine_deepspeed
assert mmengine_deepspeed.deepspeed is sys.modules['deepspeed']
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_compiler_is_not_loaded_for_an_optimizer_that_needs_none():
    program = """
import sys
import lisa_mm.engine
lisa_mm.engine.LisaDeepSpeedStrategy(zero_stage=2)
from deepspeed.runtime.zero.muon.original_muon import muon_update
assert muon_update.__name__ == 'muon_update'
assert 'torch._inductor.compile_fx' not in sys.modules, 'loaded'
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_function_is_compiled_when_it_is_called(monkeypatch):
    made = []
    monkeypatch.setattr(torch, 'compile', lambda function: made.append(function) or (lambda value: function(value) * 10))
    run = patches._compiled_when_called(lambda value: value + 1)
    assert not made
    assert [run(1), run(2)] == [20, 30]
    assert len(made) == 1
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    assert run(1) == 2
