"""Bad checkpoints: one clear error each, and nothing is written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from lisa_mm.checkpoints.exported import is_exported
from lisa_mm.checkpoints.exporting import export_checkpoint
from lisa_mm.checkpoints.importing import import_checkpoint
from lisa_mm.command import run_command
from lisa_mm.errors import CheckpointError

from .checkpoints import (
    alpha_of,
    clip_folder,
    import_lisa,
    import_state,
    lisa_folder,
    llava_folder,
    read_all,
    rewrite,
    sam_file,
    state_file,
)


@pytest.fixture
def refused(tmp_path):
    """Call with the words of the error; afterwards neither the folder nor a piece of it may be there."""
    (tmp_path / 'out').mkdir()
    target = tmp_path / 'out' / 'folder'

    def run(action, words):
        with pytest.raises(CheckpointError, match=words):
            action(target)
        assert list((tmp_path / 'out').iterdir()) == []

    return run


@pytest.fixture
def copied(golden, tmp_path):
    """A copy of the LISA folder to spoil."""
    folder = tmp_path / 'copied'
    shutil.copytree(lisa_folder(golden), folder)
    return folder


def test_a_truncated_shard(golden, copied, refused):
    shard = sorted(copied.glob('*.bin'))[-1]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    refused(lambda out: import_lisa(golden, out, copied), f'{shard.name}.*cut off.*again')


def test_a_truncated_safetensors_shard(golden, tmp_path, refused):
    source = rewrite(lisa_folder(golden), tmp_path / 'source', read_all(lisa_folder(golden)), shards=2)
    shard = sorted(source.glob('*.safetensors'))[-1]
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(lambda out: import_lisa(golden, out, source), f'{shard.name}.*damaged.*again')


def test_an_index_that_names_a_missing_shard(golden, copied, refused):
    shard = sorted(copied.glob('*.bin'))[0]
    shard.unlink()
    refused(lambda out: import_lisa(golden, out, copied), f'names 1 files that are not there: {shard.name}')


def test_shards_without_an_index_and_one_is_missing(golden, copied, refused):
    (copied / 'pytorch_model.bin.index.json').unlink()
    sorted(copied.glob('*.bin'))[0].unlink()
    refused(lambda out: import_lisa(golden, out, copied), 'are not all')


def test_an_index_that_names_a_tensor_elsewhere(golden, copied, refused):
    path = copied / 'pytorch_model.bin.index.json'
    index = json.loads(path.read_text())
    files = sorted(set(index['weight_map'].values()))
    index['weight_map']['lm_head.weight'] = next(f for f in files if f != index['weight_map']['lm_head.weight'])
    path.write_text(json.dumps(index))
    refused(lambda out: import_lisa(golden, out, copied), 'lm_head.weight')


@pytest.mark.parametrize('name', ['model.norm.weight', 'model.text_hidden_fcs.0.2.bias', 'lm_head.weight'])
def test_a_tensor_of_another_shape(golden, tmp_path, refused, name):
    state = read_all(lisa_folder(golden))
    state[name] = torch.cat([state[name], state[name][:1]])
    source = rewrite(lisa_folder(golden), tmp_path / 'source', state)
    refused(lambda out: import_lisa(golden, out, source), rf'(?s)1 reshaped.*{name}.*wants')


def test_a_missing_and_an_unknown_tensor(golden, tmp_path, refused):
    state = read_all(lisa_folder(golden))
    state['model.norm.scale'] = state.pop('model.norm.weight')
    state['model.novelty'] = torch.zeros(3)
    source = rewrite(lisa_folder(golden), tmp_path / 'source', state)
    refused(lambda out: import_lisa(golden, out, source), r'(?s)2 left over.*norm.scale.*novelty.*1 missing.*norm.weight')


def test_config_json_of_other_weights(golden, copied, refused):
    config = json.loads((copied / 'config.json').read_text())
    config['num_hidden_layers'] += 1
    (copied / 'config.json').write_text(json.dumps(config))
    refused(lambda out: import_lisa(golden, out, copied), r'(?s)missing.*config.json belongs to other weights')


def test_other_rotary_positions(golden, copied, refused):
    config = json.loads((copied / 'config.json').read_text())
    (copied / 'config.json').write_text(json.dumps({**config, 'rope_theta': 1e6}))
    refused(lambda out: import_lisa(golden, out, copied), 'rope_theta')


def test_a_lora_rank_that_is_not_the_given_one(golden, refused):
    rank = next(value for name, value in read_all(state_file(golden)).items() if '.lora_A.' in name).shape[0]
    refused(lambda out: import_state(golden, out, lora_rank=rank + 1), f'has rank {rank}, but {rank + 1}')


def test_a_lora_rank_that_changes(golden, tmp_path, refused):
    state = read_all(state_file(golden))
    layer = next(name for name in reversed(state) if '.lora_A.' in name).split('.lora_A.')[0]
    state[f'{layer}.lora_A.default.weight'] = state[f'{layer}.lora_A.default.weight'][:1].clone()
    state[f'{layer}.lora_B.default.weight'] = state[f'{layer}.lora_B.default.weight'][:, :1].clone()
    torch.save(state, tmp_path / 'state.bin')
    refused(lambda out: import_state(golden, out, tmp_path / 'state.bin'), 'has rank 1, but')


def test_half_a_lora(golden, tmp_path, refused):
    state = read_all(state_file(golden))
    del state[next(name for name in state if '.lora_B.' in name)]
    torch.save(state, tmp_path / 'state.bin')
    refused(lambda out: import_state(golden, out, tmp_path / 'state.bin'), 'lacks its A, its B')


def test_a_tokenizer_with_seg_in_another_place(golden, copied, refused):
    path = copied / 'added_tokens.json'
    ids = sorted(json.loads(path.read_text()).values())
    path.write_text(json.dumps({'[SEG]': ids[1], '<im_start>': ids[0], '<im_end>': ids[2]}))
    refused(lambda out: import_lisa(golden, out, copied), rf'\[SEG\] is {ids[1]}.*trained with \[SEG\] at {ids[0]}')


def test_a_tokenizer_with_one_token_more(golden, copied, refused):
    path = copied / 'added_tokens.json'
    ids = json.loads(path.read_text())
    path.write_text(json.dumps({'[NEW]': min(ids.values()), **{token: i + 1 for token, i in ids.items()}}))
    refused(lambda out: import_lisa(golden, out, copied), r'tokens with \[SEG\].*but embeddings and head have')


def test_no_tokenizer(golden, copied, refused):
    for path in copied.glob('tokenizer*'):
        path.unlink()
    refused(lambda out: import_lisa(golden, out, copied), 'holds no tokenizer.model')


def test_a_folder_of_another_model(golden, tmp_path, refused):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'config.json').write_text(json.dumps({'model_type': 'bert'}))
    torch.save({'bert.embeddings.weight': torch.zeros(3, 2)}, tmp_path / 'other' / 'pytorch_model.bin')
    refused(lambda out: import_checkpoint(tmp_path / 'other', out), "none of the checkpoints.*model_type 'bert'")


def test_another_architecture_under_llavas_names(golden, copied, refused):
    config = json.loads((copied / 'config.json').read_text())
    (copied / 'config.json').write_text(json.dumps({**config, 'model_type': 'mistral'}))
    refused(lambda out: import_lisa(golden, out, copied), "model_type is 'mistral'; allowed")


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize('place', ['LISA', 'SAM', 'CLIP'])
def test_a_pickle_that_wants_to_run_code(golden, copied, tmp_path, refused, place):
    trace = tmp_path / 'trace'
    shard = sorted(copied.glob('*.bin'))[0]
    content = {**torch.load(shard, weights_only=True), 'model.norm.weight': Malicious(trace)}
    if place == 'LISA':
        torch.save(content, shard)
        refused(lambda out: import_lisa(golden, out, copied), f'{shard.name}: refused, it holds more than tensors')
    else:
        torch.save(content, tmp_path / 'bad.pth')
        (tmp_path / 'clip').mkdir()
        shutil.copy(clip_folder(golden) / 'config.json', tmp_path / 'clip')
        shutil.copy(tmp_path / 'bad.pth', tmp_path / 'clip' / 'pytorch_model.bin')
        source = tmp_path / ('bad.pth' if place == 'SAM' else 'clip')
        refused(lambda out: import_checkpoint(source, out), 'refused, it holds more than tensors')
    assert not trace.exists()


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        (lambda g, out: import_checkpoint(lisa_folder(g), out), '--clip FOLDER'),
        (lambda g, out: import_checkpoint(state_file(g), out), '--llm FOLDER'),
        (lambda g, out: import_checkpoint(state_file(g), out, llm=llava_folder(g)), '--clip FOLDER'),
        (lambda g, out: import_state(g, out, lora_alpha=None), '--lora-alpha'),
        (lambda g, out: import_checkpoint(sam_file(g), out, clip=clip_folder(g)), '--clip goes beside'),
        (lambda g, out: import_lisa(g, out, sam=sam_file(g)), '--sam goes beside'),
        (lambda g, out: import_checkpoint(g.root / 'nowhere', out), 'does not exist'),
    ],
)
def test_what_no_file_tells_is_asked_for(golden, refused, given, words):
    refused(lambda out: given(golden, out), words)


def test_a_trained_lora_of_another_rank_than_its_config(golden, tmp_path, refused):
    """Our own checkpoint: config and tensors must agree before anything is merged."""
    import_state(golden, tmp_path / 'start')
    from lisa_mm.apis.loading import SOURCE_NAME
    from lisa_mm.apis.training import build_runner
    from lisa_mm.config import load_config

    source = load_config(tmp_path / 'start' / SOURCE_NAME)
    for key in ('train_dataloader', 'train_cfg', 'val_dataloader', 'test_dataloader', 'optim_wrapper', 'param_scheduler'):
        source.pop(key, None)
    source.strategy = dict(type='LisaSingleDeviceStrategy')
    runner = build_runner(source, tmp_path / 'work', launcher='none')
    runner.strategy.prepare(runner.model)
    runner.load_or_resume()
    runner.strategy.micro_batch, runner.strategy.accumulation = 1, 1
    runner.strategy.save_checkpoint(str(tmp_path / 'work' / 'iter_1'), save_optimizer=False)
    source.model.lora.r += 1
    (tmp_path / 'work' / SOURCE_NAME).write_text(source.pretty_text)
    refused(lambda out: export_checkpoint(tmp_path / 'work', out), r'(?s)of another shape.*lora_A')


def test_an_existing_folder_is_not_overwritten(golden, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'notes.txt').write_text('keep')
    with pytest.raises(CheckpointError, match='exists already'):
        import_lisa(golden, tmp_path / 'mine')
    assert [p.name for p in (tmp_path / 'mine').iterdir()] == ['notes.txt']


def test_an_interrupted_write_leaves_nothing(golden, tmp_path, monkeypatch):
    from lisa_mm.checkpoints.matching import MatchedTensors

    def stop(self, name):
        raise KeyboardInterrupt

    monkeypatch.setattr(MatchedTensors, 'read', stop)
    with pytest.raises(KeyboardInterrupt):
        import_lisa(golden, tmp_path / 'out')
    assert list(tmp_path.iterdir()) == [] and not is_exported(tmp_path / 'out')


def test_the_tool_prints_an_error_without_traceback(golden, capsys):
    with pytest.raises(SystemExit) as exited:
        run_command(lambda: import_checkpoint(state_file(golden), 'never', lora_alpha=alpha_of(golden)))
    assert exited.value.code == 1
    assert capsys.readouterr().err.startswith('error: ')
