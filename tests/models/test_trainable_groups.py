"""One meaning of each setting of what is trained, and a table that shows every parameter once."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import lisa_mm
from lisa_mm.errors import ConfigError
from lisa_mm.models import LISA
from lisa_mm.models.base import BaseMLLM, TrainableGroup
from lisa_mm.models.mllms import LlavaMLLM
from lisa_mm.models.phases import shapes_only
from lisa_mm.models.tuning import TunedGroup, flatten, owned_parameters, resolve, tuned_groups, tuning_table
from lisa_mm.registry import MLLMS

from .families import mask_decoder, whole_model
from .whole import LORA, LOSSES, SAM, build, put_together

SMALL = dict(r=2, lora_alpha=4, target_modules='all-linear')


@pytest.fixture(scope='module', params=['parts', 'whole'])
def frozen(request, tmp_path_factory):
    """A multimodal model whose language model says ``frozen=True``."""
    if request.param == 'whole':
        return dict(whole_model('qwen2_5_vl', tmp_path_factory.mktemp('qwen')), frozen=True)
    parts = put_together()
    return dict(parts, language_model=dict(parts['language_model'], frozen=True))


def trained(model: LISA, prefix: str = 'mllm.') -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad and name.startswith(prefix)]


def fault(mllm, decoder=None, **settings) -> str:
    with pytest.raises(ConfigError) as caught:
        build(mllm, decoder, **settings)
    assert len(caught.value.faults) == 1
    return str(caught.value)


def test_a_frozen_language_model_is_frozen(frozen):
    model = build(frozen, lora=None, train_embeddings=False).train()
    assert trained(model) == []
    assert not model.mllm.decoder.training
    assert trained(model, 'seg_head')


def test_settings_that_would_train_a_frozen_language_model_are_refused(frozen):
    where = 'model.mllm.frozen=True' if 'language_model' not in frozen else 'model.mllm.language_model.frozen=True'
    full = fault(frozen, lora=None, tuning='full', train_embeddings=False)
    assert full.startswith(f"{where}, but model.tuning='full' trains its weights. Leave out one of the two.")
    for value in (True, 'new_rows'):
        rows = fault(frozen, train_embeddings=value)
        assert rows.startswith(f'{where}, but model.train_embeddings={value!r} trains')
        assert 'Set model.train_embeddings=False' in rows


def test_a_frozen_language_model_takes_adapters_as_a_frozen_tower_does(frozen):
    model = build(frozen, train_embeddings=False).train()
    names = trained(model)
    assert names
    assert all('lora_' in name for name in names)
    assert model.mllm.decoder.training  # not stuck: layers recompute activations in train mode only


def test_frozen_of_a_whole_model_and_of_its_vision_may_not_differ(tmp_path):
    part = dict(whole_model('llava', tmp_path), frozen=True)
    for key in ('vision_frozen', 'projector_frozen'):
        assert f'model.mllm.frozen=True, but {key}=False trains a part of it' in fault({**part, key: False})


@pytest.mark.parametrize('kind', ['segment_anything', 'sam2'])
def test_the_image_encoder_trains_under_a_frozen_decoder_if_it_says_so(kind):
    if kind == 'sam2':
        part = dict(mask_decoder(kind), frozen=True, encoder_frozen=False)
    else:
        part = dict(SAM, frozen=True, image_encoder=dict(SAM['image_encoder'], frozen=False))
    model = build(put_together(), part).train()
    inside = 'mask_decoder.image_encoder.' if kind == 'segment_anything' else 'mask_decoder.model.vision_encoder.'
    assert trained(model, inside) == trained(model, 'mask_decoder') == [n for n, _ in model.named_parameters() if inside in n]
    assert model.get_submodule(inside[:-1]).training
    assert not model.mask_decoder.training


@pytest.mark.parametrize('decoder', [None, 'sam2', 'sam_hq'])
@pytest.mark.parametrize('kind', ['parts', 'whole'])
def test_the_table_shows_every_parameter_once(kind, decoder, tmp_path):
    mllm = put_together() if kind == 'parts' else whole_model('qwen2_5_vl', tmp_path)
    lora = dict(LORA, image_encoder=SMALL)
    model = build(mllm, mask_decoder(decoder) if decoder else None, lora=lora, train_embeddings='new_rows')
    rows = {row.name: row for row in tuned_groups(model)}
    assert sum(row.total for row in rows.values()) == sum(p.numel() for p in model.parameters())
    assert sum(row.trained for row in rows.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert {name: row.outcome for name, row in rows.items() if not name.endswith('.unused')} == {
        'mllm.vision_tower': 'frozen',
        'mllm.projector': 'frozen',
        'mllm.language_model': 'LoRA',
        'mllm.language_model.embeddings': 'new rows',
        'seg_head': 'trained',
        'mask_decoder': 'trained',
        'mask_decoder.image_encoder': 'LoRA',
    }
    # two matrices of new rows, or one that both share
    ends = {id(m.new_rows): m.new_rows.numel() for m in model.modules() if hasattr(m, 'new_rows')}  # pyright: ignore[reportCallIssue] - a parameter
    assert rows['mllm.language_model.embeddings'].trained == sum(ends.values())
    in_layers = [p.numel() for name, p in model.named_parameters() if name.startswith('mllm.') and 'lora_' in name]
    assert rows['mllm.language_model'].trained == sum(in_layers)
    assert (rows['mask_decoder.unused'].outcome, rows['mask_decoder.unused'].trained) == ('unused, frozen', 0)


def test_the_table_as_text():
    rows = [TunedGroup('mllm.projector', 'frozen', 0, 1200), TunedGroup('seg_head', 'trained', 34, 34)]
    assert [line.split() for line in tuning_table(rows).splitlines()] == [
        ['part', 'trained', 'parameters'],
        ['mllm.projector', 'frozen', '0', '1,200'],
        ['seg_head', 'trained', '34', '34'],
        ['all', '34', '1,234'],
    ]


def test_parameters_of_no_group_are_in_the_table():
    """Such as those that a subclass of LISA adds."""
    model = build(put_together())
    model.box_head = torch.nn.Linear(3, 4)
    row = {row.name: row for row in tuned_groups(model)}['box_head']
    assert (row.outcome, row.trained, row.total) == ('trained', 16, 16)


@pytest.fixture
def registered(monkeypatch):
    """Put a class into the registry of whole models for one test."""
    return lambda cls: monkeypatch.setitem(MLLMS._module_dict, cls.__name__, cls)


def test_a_whole_model_that_declares_nothing_trains_as_the_settings_say(registered):
    """The base's groups: the language model by the model's settings, all else by ``frozen``."""

    class Bare(LlavaMLLM):
        trainable_groups = BaseMLLM.trainable_groups

    registered(Bare)
    model = build(dict(put_together(), type='Bare'), train_embeddings=False)
    language = trained(model, 'mllm.language_model.')
    assert language
    assert all('lora_' in name for name in language)
    assert len(trained(model)) - len(language) == len([*model.mllm.vision_tower.parameters(), *model.mllm.projector.parameters()])
    message = fault(dict(put_together(), type='Bare'), lora=dict(LORA, vision_tower=SMALL))
    assert message.startswith('model.lora.vision_tower: Bare has no vision tower that takes adapters. Leave it out.')


def test_a_whole_model_must_name_its_language_model(registered):
    class Nameless(LlavaMLLM):
        def trainable_groups(self):
            return {'everything': TrainableGroup((self,))}

    registered(Nameless)
    message = fault(dict(put_together(), type='Nameless'))
    assert "Nameless declares no group 'language_model' in trainable_groups (found: mllm.everything)" in message


@pytest.mark.parametrize('context', [shapes_only, nullcontext])
def test_what_trains_may_be_set_after_building(context):
    """On the meta device too: adapters are where their layers are."""
    with context():
        now = LISA(put_together(), SAM, dict(type='SegTokenHead'), LOSSES, lora=LORA)
        later = LISA(put_together(), SAM, dict(type='SegTokenHead'), LOSSES, tuning='frozen', train_embeddings=False)
    assert trained(later) == []
    later.tuned = resolve(later, lora=LORA)
    assert later.tuned == now.tuned
    assert trained(later, '') == trained(now, '')
    assert {p.device for p in later.parameters()} == {p.device for p in now.parameters()}
    modes = [[module.training for module in model.train().modules()] for model in (now, later)]
    assert modes[0] == modes[1]


def test_one_file_sets_what_is_trained():
    """Parts and the model declare; the calls that freeze and unfreeze stand in models/tuning.py."""
    models = Path(lisa_mm.PACKAGE_DIR) / 'models'
    files = {path.name for path in models.rglob('*.py') if re.search(r'requires_grad_?\(|\.eval\(\)', path.read_text())}
    assert files == {'tuning.py'}


def test_a_parameter_belongs_to_the_last_group_that_holds_it():
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, bias=False))
    groups = flatten({'': TrainableGroup((layers,)), 'last': TrainableGroup((layers[1].weight,), frozen=True)}, 'part')
    assert [name for name, _ in owned_parameters(groups)] == ['part', 'part', 'part.last']
    assert groups['part.last'].key == 'model.part.frozen'
