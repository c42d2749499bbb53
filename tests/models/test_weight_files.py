"""Files of weights: wrappers, prefixes, code in pickles, folders of shards, numbers that are not finite."""

from __future__ import annotations

import argparse
import json
import os
import random
import traceback
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from lisa_mm.checkpoints.exporting import CastTensors
from lisa_mm.checkpoints.matching import MatchedTensors
from lisa_mm.checkpoints.sources import TensorInfo, WeightFiles
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.engine.strategies.resuming import read_common
from lisa_mm.errors import CheckpointError
from lisa_mm.models import weight_files
from lisa_mm.models.backbones.hf_vision_tower import Processing, read_processing
from lisa_mm.models.language_models.causal_lm import read_config
from lisa_mm.models.projectors import LinearProjector
from lisa_mm.models.transformers_versions import read_model
from lisa_mm.models.weight_files import is_finite, read_weights

ROOT = Path(__file__).parents[2]
POINTER = ROOT / 'tests' / 'field' / 'lfs_pointer' / 'sam_vit_h_4b8939.pth'
STATE = {'linear.weight': torch.ones(2, 3), 'linear.bias': torch.zeros(2)}
OPTIMIZER = {'state': {0: {'exp_avg': torch.zeros(2)}}, 'param_groups': [{'lr': 0.1}]}


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def told(monkeypatch):
    """The lines that are logged."""
    lines: list[str] = []
    monkeypatch.setattr(weight_files, 'print_log', lambda line, **_: lines.append(line))
    weight_files._tell_once.cache_clear()
    return lines


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name], value) for name, value in STATE.items())


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in STATE.items()}


def test_a_git_lfs_pointer_in_place_of_sam():
    with pytest.raises(CheckpointError, match=r'sam_vit_h_4b8939\.pth is a git-lfs pointer.*git lfs pull') as raised:
        read_weights(POINTER)
    assert 'more than tensors' not in str(raised.value)
    with pytest.raises(CheckpointError, match='git lfs pull'):
        WeightFiles(POINTER)


@pytest.mark.parametrize('zipped', [True, False])
def test_nobody_is_told_to_run_a_files_code(tmp_path, zipped):
    """Neither the message nor the traceback of a script that calls the package says weights_only=False."""
    path, trace = tmp_path / 'evil.pth', tmp_path / 'trace'
    for content, words in (
        ({**STATE, 'x': Malicious(trace)}, r'asks for posix\.mkdir, .*can run any code'),
        ({'model': STATE, 'args': argparse.Namespace(lr=1)}, r'asks for argparse\.Namespace, .*can run any code'),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match='refused, it holds more than tensors: it ' + words) as raised:
            read_weights(path)
        shown = ''.join(traceback.format_exception(raised.value)).replace('weights_only=True', '')
        assert 'weights_only' not in shown
        assert 'add_safe_globals' not in shown
    assert not trace.exists()


def test_the_state_of_a_training_gives_no_such_advice_either(tmp_path):
    (tmp_path / 'state').mkdir()
    torch.save({'x': Malicious(tmp_path / 'trace')}, tmp_path / 'state' / 'common.pt')
    with pytest.raises(CheckpointError, match=r'cannot be read \(it asks for posix\.mkdir') as raised:
        read_common(tmp_path)
    assert 'will likely succeed' not in ''.join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    'content',
    [
        {'model': STATE},
        {'state_dict': STATE, 'epoch': 3, 'optimizer': OPTIMIZER},
        {'module': STATE, 'optimizer': {'exp_avg': torch.zeros(2)}, 'lr_scheduler': {}},
        {'model_state_dict': STATE, 'optimizer_state_dict': OPTIMIZER, 'rng_state': torch.zeros(9, dtype=torch.uint8)},
        {'model': {'state_dict': STATE}, 'step': torch.tensor(3.0)},
    ],
)
def test_one_wrapped_state_dict_is_taken(tmp_path, told, content):
    torch.save(content, tmp_path / 'a.pth')
    assert same(read_weights(tmp_path / 'a.pth'))
    files = WeightFiles(tmp_path / 'a.pth')
    assert same({name: files.read(name) for name in files.info})
    assert len(told) == 1
    assert f"a.pth: the weights are taken from ['{next(iter(content))}']" in told[0]
    for name in list(content)[1:]:
        assert name in told[0].partition('left aside')[2]


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({'state_dict': STATE, 'state_dict_ema': STATE}, 'several sets of weights: state_dict, state_dict_ema'),
        ({'model': STATE, 'teacher': {'module': STATE}}, 'several sets of weights: model, teacher'),
        ({'model': STATE, 'scale': torch.ones(3)}, 'several sets of weights: model, scale'),
        ({'model': {'state_dict': STATE, 'ema': STATE}}, r"\['model'\] holds several sets of weights: state_dict, ema"),
        ({'generator': STATE}, "holds its weights under 'generator', which is none of the usual names"),
        ({**STATE, 'epoch': 3}, r'holds epoch \(int\); expected a dict of tensors'),
        ({'optimizer': OPTIMIZER}, r'holds optimizer \(dict\)'),
        ({}, 'holds a dict'),
        ([torch.zeros(2)], 'holds a list'),
        (torch.zeros(2), 'holds a Tensor'),
        ({0: torch.zeros(2)}, 'expected a dict of tensors'),
    ],
)
def test_what_could_mean_two_things_is_refused_by_name(tmp_path, content, words):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=words):
        read_weights(tmp_path / 'a.pth')


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'base_model.model.', 'module._orig_mod.', '_orig_mod.module.'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_prefix_of_all_names_is_taken_off(tmp_path, told, prefix, suffix):
    path = tmp_path / f'a{suffix}'
    save_file(prefixed(prefix), path) if suffix == '.safetensors' else torch.save(prefixed(prefix), path)
    assert same(read_weights(path))
    assert told == [f'{path}: {prefix!r} before all names is taken off']


def test_a_prefix_of_some_names_stays(tmp_path, told):
    content = {'module.a': torch.zeros(2), 'b': torch.zeros(2)}
    torch.save(content, tmp_path / 'a.pth')
    assert list(read_weights(tmp_path / 'a.pth')) == ['module.a', 'b']
    assert told == []


def test_a_prefix_that_the_part_has_itself_stays(tmp_path):
    save_file(prefixed('module.'), tmp_path / 'a.safetensors')
    assert set(read_weights(tmp_path / 'a.safetensors', own=['module.linear.weight'])) == set(prefixed('module.'))


def test_shards_share_a_prefix(tmp_path, told):
    """Only all shards together show whether all names have it; peft's says what the file is, and stays."""
    names = list(STATE)
    for prefix, kept in (('module.', ''), ('base_model.model.', 'base_model.model.')):
        for number, name in enumerate(names):
            torch.save({prefix + name: STATE[name]}, tmp_path / f'pytorch_model-{number + 1:05d}-of-00002.bin')
        files = WeightFiles(tmp_path)
        assert sorted(files.info) == sorted(kept + name for name in names)
        assert torch.equal(files.read(f'{kept}{names[0]}'), STATE[names[0]])
    torch.save({'x': torch.zeros(2)}, tmp_path / 'pytorch_model-00002-of-00002.bin')
    assert sorted(WeightFiles(tmp_path).info) == ['base_model.model.linear.weight', 'x']


def test_a_part_reads_a_wrapped_and_prefixed_file(tmp_path):
    torch.save({'model': prefixed('module.'), 'optimizer': OPTIMIZER}, tmp_path / 'a.pth')
    projector = LinearProjector(3, 2, pretrained=str(tmp_path / 'a.pth'))
    projector.load_pretrained()
    assert torch.equal(projector.linear.weight, STATE['linear.weight'])
    save_file(prefixed('module.'), tmp_path / 'a.safetensors')
    with torch.device('meta'):
        LinearProjector(3, 2, pretrained=str(tmp_path / 'a.safetensors')).check_pretrained()


@pytest.mark.parametrize('number', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number, dtype):
    broken = torch.zeros(2, 3, dtype=dtype)
    assert is_finite(broken)
    broken[1, 1] = number
    save_file({**STATE, 'linear.weight': broken}, tmp_path / 'a.safetensors')
    with pytest.raises(CheckpointError, match=r'1 tensors hold NaN or infinite numbers: linear\.weight'):
        LinearProjector(3, 2, pretrained=str(tmp_path / 'a.safetensors')).load_pretrained()
    tensors = MatchedTensors()
    tensors.add(WeightFiles(tmp_path / 'a.safetensors'), lambda name: name)
    assert torch.equal(tensors.read('linear.bias'), STATE['linear.bias'])
    with pytest.raises(CheckpointError, match=r'linear\.weight holds NaN or infinite numbers'):
        tensors.read('linear.weight')


def test_a_cast_that_makes_numbers_infinite_is_refused():
    class Source:
        info = {'a': TensorInfo((2,), torch.float32)}

        def read(self, name):
            return torch.tensor([1.0, 1e5])

    assert CastTensors(Source(), torch.bfloat16).read('a').dtype == torch.bfloat16
    with pytest.raises(CheckpointError, match=r'a holds numbers up to 1e\+05, too large for torch\.float16'):
        CastTensors(Source(), torch.float16).read('a')


def write_shards(folder: Path, *shards: dict[str, torch.Tensor], index: dict[str, str] | None = None) -> list[Path]:
    paths = [folder / f'model-{n + 1:05d}-of-{len(shards):05d}.safetensors' for n in range(len(shards))]
    for path, shard in zip(paths, shards, strict=True):
        save_file(shard, path)
    found = {name: path.name for path, shard in zip(paths, shards, strict=True) for name in shard}
    (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': index or found}))
    return paths


def test_all_missing_shards_are_named(tmp_path):
    paths = write_shards(tmp_path, *({f'a{n}': torch.zeros(2)} for n in range(7)))
    assert len(WeightFiles(tmp_path).info) == 7
    for path in paths[1:]:
        path.unlink()
    with pytest.raises(CheckpointError, match='names 6 files that are not there') as raised:
        WeightFiles(tmp_path)
    assert all(path.name in str(raised.value) for path in paths[1:])


def test_shards_that_do_not_hold_what_the_index_says(tmp_path):
    (first, second) = write_shards(tmp_path, {'a': torch.zeros(2)}, {'b': torch.zeros(2)})
    save_file({'c': torch.zeros(2)}, second)
    with pytest.raises(CheckpointError, match='names 1 tensors that are not where it says, first b in model-00002'):
        WeightFiles(tmp_path)
    save_file({'b': torch.zeros(2), 'a': torch.ones(2)}, second)
    with pytest.raises(CheckpointError, match=f'a is in {first.name} and in {second.name}'):
        WeightFiles(tmp_path)
    second.write_bytes(POINTER.read_bytes())
    with pytest.raises(CheckpointError, match=f'{second.name} is a git-lfs pointer'):
        WeightFiles(tmp_path)
    (tmp_path / 'model.safetensors.index.json').write_text('{"weight_map": {"a": "x.bin", "a": "y.bin"}}')
    with pytest.raises(CheckpointError, match="'a' is there twice"):
        WeightFiles(tmp_path)
    (tmp_path / 'model.safetensors.index.json').write_text('{"weight_map": {"a": 3}}')
    with pytest.raises(CheckpointError, match='has no weight_map'):
        WeightFiles(tmp_path)


@pytest.fixture
def llama(tmp_path):
    """A Hugging Face folder, and the state of its model."""
    config = LlamaConfig(hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1, vocab_size=32)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / 'llama')
    return tmp_path / 'llama', model.state_dict()


def read(folder):
    return read_model(AutoModelForCausalLM, folder, 'the language model')


def test_a_hugging_face_folder(llama, tmp_path):
    folder, state = llama
    read(folder)
    # what was not pulled beside what is read is nobody's fault
    (folder / 'pytorch_model.bin').write_bytes(POINTER.read_bytes())
    read(folder)
    (folder / 'model.safetensors').unlink()
    with pytest.raises(CheckpointError, match=r'pytorch_model\.bin is a git-lfs pointer'):
        read(folder)
    torch.save({**state, 'x': Malicious(tmp_path / 'trace')}, folder / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match=r'asks for posix\.mkdir'):
        read(folder)
    torch.save({'model': state}, folder / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match='holds a dict: model; expected a dict of tensors'):
        read(folder)
    torch.save({**state, 'model.norm.weight': torch.full((16,), float('nan'))}, folder / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match=r'1 weights of the language model hold NaN.*model\.norm\.weight'):
        read(folder)
    (folder / 'pytorch_model.bin').unlink()
    with pytest.raises(CheckpointError, match=r'holds no weights: looked for model\.safetensors'):
        read(folder)


@pytest.mark.parametrize('name', ['tokenizer.json', 'tokenizer.model', 'tokenizer_config.json', 'config.json'])
@pytest.mark.parametrize('content', [POINTER.read_bytes(), b'', b'<html><title>404</title>'])
def test_a_tokenizer_that_is_something_else(tmp_path, name, content):
    source = ROOT / 'lisa_mm' / 'weights' / 'nano' / 'tokenizer'
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    build_tokenizer(str(tmp_path), 'plain')
    build_tokenizer.cache_clear()
    (tmp_path / name).write_bytes(content)
    words = 'git lfs pull' if content.startswith(b'version') else 'page' if content else 'empty file'
    with pytest.raises(CheckpointError, match=f'{name} is .*{words}'):
        build_tokenizer(str(tmp_path), 'plain')


def test_a_tokenizer_that_is_cut_off(tmp_path):
    for path in (ROOT / 'lisa_mm' / 'weights' / 'nano' / 'tokenizer').iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / 'tokenizer.json').read_bytes()
    (tmp_path / 'tokenizer.json').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match='holds no readable tokenizer'):
        build_tokenizer(str(tmp_path), 'plain')


def test_a_preprocessor_and_a_config_that_are_pointers(tmp_path):
    for name in ('config.json', 'preprocessor_config.json'):
        (tmp_path / name).write_bytes(POINTER.read_bytes())
    with pytest.raises(CheckpointError, match=r'config\.json is a git-lfs pointer'):
        read_config(tmp_path)
    (tmp_path / 'config.json').unlink()
    with pytest.raises(CheckpointError, match=r'preprocessor_config\.json is a git-lfs pointer'):
        read_processing(tmp_path, Processing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 3))


def test_the_code_in_a_folder_is_never_run(tmp_path, monkeypatch):
    """transformers asks on the terminal whether to run it, and advises trust_remote_code=True."""

    def ask(*_):
        raise AssertionError('a question on the terminal')

    monkeypatch.setattr('builtins.input', ask)
    trace = tmp_path / 'trace'
    (tmp_path / 'code.py').write_text(f'import os; os.mkdir({str(trace)!r})')
    maps = {'AutoConfig': 'code.C', 'AutoTokenizer': ['code.T', None]}
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'mine', 'auto_map': maps}))
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps({'tokenizer_class': 'T', 'auto_map': maps}))
    for read_it in (lambda: read_config(tmp_path), lambda: build_tokenizer(str(tmp_path), 'plain')):
        with pytest.raises(CheckpointError, match='program code of its own, which is never run') as raised:
            read_it()
        assert 'trust_remote_code' not in ''.join(traceback.format_exception(raised.value)).replace('trust_remote_code=False', '')
    assert not trace.exists()


def test_damaged_files_give_one_kind_of_error(tmp_path):
    """Seeded: bytes flipped, cut, put in; a file is read or refused, and nobody sees torch's own words about its code."""
    generator = random.Random(0)
    save_file(STATE, tmp_path / 'a.safetensors')
    torch.save({'model': STATE, 'epoch': 3}, tmp_path / 'new.pth')
    torch.save(STATE, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    errors = []
    for number in range(450):
        source = tmp_path / ('a.safetensors', 'new.pth', 'old.pth')[number % 3]
        content = bytearray(source.read_bytes())
        for _ in range(generator.choice((1, 1, 3, 20))):
            place = generator.randrange(len(content) + 1)
            action = generator.randrange(3)
            if action == 0 and place < len(content):
                content[place] = generator.randrange(256)
            elif action == 1:
                del content[place : place + generator.randrange(1, 60)]
            else:
                content[place:place] = generator.randbytes(generator.randrange(1, 9))
        path = tmp_path / f'damaged_{number}{source.suffix}'
        path.write_bytes(content)
        try:
            read_weights(path)
            WeightFiles(path)
        except CheckpointError as error:
            errors.append(str(error))
    assert len(errors) > 300
    assert not [error for error in errors if 'weights_only' in error or 'safe_globals' in error]
