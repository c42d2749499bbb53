"""check_part passes parts written from the README's table, and says in a sentence what another one lacks."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch
from torch import nn

from lisa_mm.models.base import BaseProjector, TrainableGroup
from lisa_mm.registry import MODELS, PROJECTORS, ROLES
from lisa_mm.testing import PartError, check_part
from lisa_mm.testing.tiny import SLOTS

TOKENIZER = 'weights://nano/tokenizer'
MINIMAL = {
    'model': dict(type='MinimalLISA'),
    'mllm': dict(type='MinimalMLLM', tokenizer=TOKENIZER),
    'vision tower': dict(type='MinimalVisionTower'),
    'projector': dict(type='MinimalProjector'),
    'language model': dict(type='MinimalLanguageModel', tokenizer=TOKENIZER),
    'seg head': dict(type='MinimalSegHead'),
    'image encoder': dict(type='MinimalImageEncoder'),
    'mask decoder': dict(type='MinimalMaskDecoder'),
    'loss': dict(type='MinimalLoss'),
}


@pytest.fixture(autouse=True)
def minimal_parts():
    """They are registered during these tests alone: others list what is registered."""
    before = {registry: dict(registry.module_dict) for registry in (*ROLES, MODELS)}
    parts = importlib.import_module('tests.testing.minimal_parts')
    for cls in vars(parts).values():
        if inspect.isclass(cls) and cls.__name__.startswith('Minimal'):
            slot = next(slot for slot in SLOTS if issubclass(cls, slot.base))
            slot.registry.register_module(module=cls, force=True)
    yield parts
    for registry, known in before.items():
        registry.module_dict.clear()
        registry.module_dict.update({name: cls for name, cls in known.items() if not name.startswith('Minimal')})


@pytest.mark.parametrize('role', MINIMAL)
def test_a_minimal_part_of_each_role_passes(role):
    assert check_part(MINIMAL[role])[-1] == 'export'


@pytest.mark.slow
@pytest.mark.parametrize('role', ['model', 'language model', 'mask decoder', 'loss'])  # each starts two processes
def test_a_minimal_part_trains_in_two_processes(role):
    assert check_part(MINIMAL[role], processes=2)[-1] == '2 processes'


def test_a_class_stands_for_its_config(minimal_parts):
    assert 'step' in check_part(minimal_parts.MinimalProjector)


def register(cls):
    """A broken relative of the minimal projector, registered for one test."""
    return PROJECTORS.register_module(force=True)(cls)


class Projector(BaseProjector):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, features):
        return self.linear(features)


def broken_form():
    class Flat(Projector):
        def forward(self, features):
            return super().forward(features).flatten(0, 1)

    return Flat, r'Flat \(projector\), step 3 \(forms\):\n- forward of features .* has shape \(10, 32\), where \(2, 5, 32\)'


def reads_in_the_constructor():
    class Reads(Projector):
        def __init__(self, in_channels: int, out_channels: int):
            super().__init__(in_channels, out_channels)
            with open('/no/such/weights.pt', 'rb') as file:
                file.read()

    return Reads, r'step 1 \(config\):[\s\S]*constructor reads a file .*load_pretrained\(\) reads the files'


def makes_tensors_on_the_cpu():
    class Cpu(Projector):
        def __init__(self, in_channels: int, out_channels: int):
            super().__init__(in_channels, out_channels)
            self.register_buffer('scale', torch.ones(1, device='cpu'))

    return Cpu, r'step 2 \(build\):[\s\S]*on the meta device mllm.projector.scale is not on it'


def leaves_parameters_unused():
    class Unused(Projector):
        def __init__(self, in_channels: int, out_channels: int):
            super().__init__(in_channels, out_channels)
            self.spare = nn.Linear(in_channels, 1)

    return Unused, r'step 4 \(step\):[\s\S]*get no gradient, such as mllm.projector.spare.weight: name them in trainable_groups'


def claims_a_file():
    class Claims(Projector):
        def __init__(self, in_channels: int, out_channels: int):
            super().__init__(in_channels, out_channels)
            self.frozen = True

        def load_pretrained(self):
            self.from_file = True

    message = r'another seed: [\s\S]*the frozen mllm.projector.linear is another one than the checkpoint was trained on'
    return Claims, message


@pytest.mark.parametrize(
    'make', [broken_form, reads_in_the_constructor, makes_tensors_on_the_cpu, leaves_parameters_unused, claims_a_file]
)
def test_what_is_missing_is_said_in_a_sentence(make):
    cls, message = make()
    register(cls)
    with pytest.raises(PartError, match=message):
        check_part(cls)


def test_unused_parameters_may_be_declared():
    class Declared(Projector):
        def __init__(self, in_channels: int, out_channels: int):
            super().__init__(in_channels, out_channels)
            self.spare = nn.Linear(in_channels, 1)

        def trainable_groups(self):
            return {**super().trainable_groups(), 'unused': TrainableGroup((self.spare,), unused=True)}

    assert check_part(register(Declared))


def test_a_class_of_no_role_and_one_that_is_not_registered():
    with pytest.raises(Exception, match='Linear derives from no base class of a part'):
        check_part(nn.Linear)
    with pytest.raises(Exception, match=r'Projector is not registered: put @PROJECTORS.register_module\(\) before'):
        check_part(Projector)
    with pytest.raises(Exception, match="'NoSuchPart' is registered in no role"):
        check_part(dict(type='NoSuchPart'))
