"""Weights are read in the dtype of training, tensor by tensor, from mapped files."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import lisa_mm
from lisa_mm.config import load_config
from lisa_mm.config.compile import compile_config
from lisa_mm.errors import CheckpointError
from lisa_mm.models import transformers_versions
from lisa_mm.models.mask_decoders import SAMMaskDecoder
from lisa_mm.models.reading import Reading, current_reading, parameters_in, reading_weights, to_be_filled
from lisa_mm.models.transformers_versions import read_model
from lisa_mm.models.weight_files import read_weights
from lisa_mm.models.weights import load_strictly
from lisa_mm.registry import MODELS

CPU = torch.device('cpu')
HALF = Reading(torch.bfloat16, CPU)
PISSA = dict(r=4, target_modules=['q_proj'], init_lora_weights='pissa')
DORA = dict(r=4, target_modules=['q_proj'], use_dora=True)


def mapped(tensor):
    """Whether a tensor's memory is a file's pages."""
    address = tensor.data_ptr()
    for line in Path('/proc/self/maps').read_text().splitlines():
        parts = line.split(maxsplit=5)
        begin, end = (int(number, 16) for number in parts[0].split('-'))
        if begin <= address < end:
            return len(parts) == 6 and parts[5].startswith('/') and not parts[5].startswith('/dev')
    return False


def layer():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(300, 300), nn.BatchNorm1d(300))
    module.get_buffer('1.running_mean').normal_()
    return module


def written(folder, suffix, dtype):
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in layer().state_dict().items()}
    path = folder / f'layer{suffix}'
    save_file(state, path) if suffix == '.safetensors' else torch.save(state, path)
    return path


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize('wanted', [torch.bfloat16, torch.float32])
def test_parameters_take_the_wanted_dtype_and_buffers_keep_theirs(tmp_path, suffix, dtype, wanted):
    path = written(tmp_path, suffix, dtype)
    module, usual = layer(), layer()
    kept = dict(module.named_parameters())
    with reading_weights(Reading(wanted, CPU)):
        load_strictly(module, read_weights(path), 'layer')
    load_strictly(usual, read_weights(path), 'layer')
    for name, parameter in module.named_parameters():
        assert parameter is kept[name]  # an optimizer may hold it
        assert parameter.dtype == wanted
        assert torch.equal(parameter, usual.get_parameter(name).to(wanted))
        assert mapped(parameter) == (dtype == wanted)
    for name, buffer in module.named_buffers():
        assert buffer.dtype == usual.get_buffer(name).dtype
        assert torch.equal(buffer, usual.get_buffer(name))
    assert not any(mapped(parameter) for parameter in usual.parameters())


def test_a_mapped_weight_can_be_trained_and_the_file_stays(tmp_path):
    path = written(tmp_path, '.safetensors', torch.float32)
    content = path.read_bytes()
    module = layer()
    with reading_weights(Reading(torch.float32, CPU)):
        load_strictly(module, read_weights(path), 'layer')
    module(torch.randn(4, 300)).square().sum().backward()
    torch.optim.SGD(module.parameters(), lr=1.0).step()
    assert path.read_bytes() == content


def test_names_that_share_memory_or_lie_crosswise_in_a_file_become_usual_parameters(tmp_path):
    square = torch.randn(300, 300)
    state = {'0.weight': square.t(), '1.weight': square, '2.weight': square}
    torch.save(state, tmp_path / 'shared.pth')
    module = nn.Sequential(*[nn.Linear(300, 300, bias=False) for _ in range(3)])
    with reading_weights(Reading(torch.float32, CPU)):
        load_strictly(module, read_weights(tmp_path / 'shared.pth'), 'shared')
    assert all(torch.equal(value, state[name]) and value.is_contiguous() for name, value in module.named_parameters())
    assert len({parameter.data_ptr() for parameter in module.parameters()}) == 3


@pytest.mark.parametrize('reading', [None, HALF])
def test_what_does_not_fit_is_one_error_and_changes_nothing(tmp_path, reading):
    path = written(tmp_path, '.pth', torch.bfloat16)
    state = read_weights(path)
    state['0.weight'] = state['0.weight'][:1]
    state['more'] = state.pop('0.bias')
    module = layer()
    with reading_weights(reading), pytest.raises(CheckpointError) as raised:
        load_strictly(module, state, 'layer.pth')
    for said in ('layer.pth does not fit', '1 missing: 0.bias', '1 left over: more', '0.weight (1, 300) instead of (300, 300)'):
        assert said in str(raised.value)
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())


def test_not_finite_is_an_error(tmp_path):
    state = layer().state_dict()
    state['0.bias'][0] = float('nan')
    with reading_weights(HALF), pytest.raises(CheckpointError, match='NaN'):
        load_strictly(layer(), state, 'layer.pth')


def test_the_setting_ends_with_its_block():
    def fail():
        with reading_weights(HALF):
            assert current_reading() is HALF
            with reading_weights(None):
                assert current_reading() is None
            raise ValueError('inside')

    with pytest.raises(ValueError, match='inside'):
        fail()
    assert current_reading() is None


def test_parameters_in_leaves_exact_ones_and_real_ones():
    with parameters_in(torch.bfloat16, lambda name, parameter: name == 'bias'):
        with torch.device('meta'):
            module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
            tied = nn.Linear(3, 3)
            tied.weight = module[0].weight
        real = nn.Linear(3, 3)
    assert module[0].weight.dtype == module[1].weight.dtype == torch.bfloat16
    assert module[0].bias.dtype == module[1].running_mean.dtype == real.weight.dtype == torch.float32
    assert tied.weight is module[0].weight
    with torch.device('meta'):
        assert nn.Linear(3, 3).weight.dtype == torch.float32


def test_numbers_of_modules_to_be_filled_are_drawn_but_not_kept():
    def build():
        return nn.Sequential(nn.Linear(50, 70), nn.Conv2d(3, 5, 2), nn.Embedding(9, 4), nn.LayerNorm(6))

    after = []
    for given in (False, True):
        torch.manual_seed(0)
        with to_be_filled(given):
            made = build()
        after.append(torch.rand(3))
        assert [tuple(value.shape) for value in made.parameters()] == [tuple(value.shape) for value in build().parameters()]
    assert torch.equal(*after)

    zeros = torch.zeros(50, 70)
    with to_be_filled(True):
        nn.init.normal_(nn.Parameter(zeros))  # memory that nothing writes to stays as the allocator gave it
    assert not zeros.any()


@pytest.fixture(scope='module')
def parts():
    return compile_config(load_config(lisa_mm.get_config('lisa/lisa_nano'))).to_dict()['model']


def build(parts, dtype):
    torch.manual_seed(0)
    with reading_weights(dtype and Reading(dtype, CPU)):
        return MODELS.build(copy.deepcopy(parts)), torch.rand(1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_equals_the_one_that_is_loaded_and_then_cast(parts, dtype):
    (usual, drawn), (model, drawn_too) = build(parts, None), build(parts, dtype)
    assert torch.equal(drawn, drawn_too)
    for (name, wanted), (found_name, found) in zip(usual.named_parameters(), model.named_parameters(), strict=True):
        assert name == found_name
        assert torch.equal(found.to(dtype), wanted.to(dtype)), name
        assert found.requires_grad == wanted.requires_grad
        assert found.requires_grad or found.dtype == dtype, name
    for (name, wanted), found in zip(usual.named_buffers(), model.buffers(), strict=True):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted), name


@pytest.mark.parametrize('lora', [PISSA, DORA])
def test_adapters_that_begin_from_weights_get_them_exact(parts, lora):
    parts = {**parts, 'lora': lora}
    (usual, _), (model, _) = build(parts, None), build(parts, torch.bfloat16)
    for wanted, found in zip(usual.mllm.parameters(), model.mllm.parameters(), strict=True):
        assert torch.equal(found.bfloat16(), wanted.bfloat16())
        assert found.dtype == torch.float32


@pytest.mark.slow
def test_no_frozen_float32_tensor_is_made_while_reading(parts, monkeypatch):
    """Every tensor alive after each part was read, apart from the few that are drawn or kept exact."""
    large = 20_000

    def alive():
        gc.collect()
        found = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        return {id(t) for t in found if t.dtype == torch.float32 and not t.is_meta and t.numel() > large and not mapped(t)}

    before, seen = alive(), []

    def look(function):
        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs)
            seen.append(len(alive() - before))
            return result

        return wrapped

    monkeypatch.setattr('lisa_mm.models.language_models.causal_lm.read_model', look(read_model))
    monkeypatch.setattr('lisa_mm.models.backbones.hf_vision_tower.read_model', look(read_model))
    monkeypatch.setattr(SAMMaskDecoder, 'load_pretrained', look(SAMMaskDecoder.load_pretrained))
    build(parts, torch.bfloat16)
    assert seen == [0, 0, 0]
    seen.clear()
    build(parts, None)
    assert min(seen) > 0  # the look finds them


@pytest.fixture(scope='module')
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp('llama')
    sizes = dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False))
    model.to(torch.bfloat16).save_pretrained(folder)
    torch.save(model.state_dict(), folder / 'pytorch_model.bin')
    return folder


@pytest.mark.parametrize('unused', ['pytorch_model.bin', 'model.safetensors'])
def test_transformers_leaves_both_formats_mapped(llama, tmp_path, unused):
    for file in llama.iterdir():
        if file.name != unused:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with reading_weights(HALF):
        model = read_model(AutoModelForCausalLM, tmp_path, 'the model')
    assert all(value.dtype == torch.bfloat16 and mapped(value) for value in model.parameters())
    assert all(buffer.dtype == torch.float32 for buffer in model.buffers())


def test_transformers_puts_tensors_on_the_device_at_once_but_not_under_zero3(monkeypatch, llama):
    given = []

    class Model:
        @classmethod
        def from_pretrained(cls, folder, **options):
            given.append(options)
            return nn.Linear(1, 1), {'missing_keys': (), 'mismatched_keys': ()}

    reading = Reading(torch.bfloat16, torch.device('cuda', 3))
    with reading_weights(reading):
        read_model(Model, llama, 'the model')
        read_model(Model, llama, 'the model', quantization_config={}, device_map={'': 0})
        monkeypatch.setattr(transformers_versions, 'is_deepspeed_zero3_enabled', lambda: True)
        read_model(Model, llama, 'the model')
    read_model(Model, llama, 'the model')
    assert [options.get('device_map') for options in given] == [{'': reading.device}, {'': 0}, None, None]
