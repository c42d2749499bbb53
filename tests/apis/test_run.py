"""The main job end to end on a few drawn scenes: train, test, infer from the work folder alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: str, ok: bool = True) -> str:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ok, done.stdout[-2000:] + done.stderr[-3000:]
    assert ok or 'Traceback' not in done.stderr, done.stderr
    return done.stdout if ok else done.stderr


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Twelve scenes to train on, four steps."""
    root = tmp_path_factory.mktemp('run')
    run('tools/make_demo.py', str(root / 'demo'), '--limit', '6', '--pretrain', '12')
    options = [f'data_root={root}/demo/pretrain', 'train_cfg.max_iters=4', 'train_dataloader.batch_size=2']
    options += ['val_dataloader.dataset.indices=4', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
    options += ['train_dataloader.persistent_workers=False']
    run('tools/train.py', 'configs/lisa/lisa_nano_pretrain.py', '--work-dir', str(root / 'work'), '--cfg-options', *options)
    return root


@pytest.mark.slow
def test_a_work_folder_alone_is_enough(trained):
    work = trained / 'work'
    for name in ('config.py', 'curves.png', 'pictures'):
        assert (work / name).exists(), name
    text = run('tools/test.py', str(work), '--split', 'val', '--controls')
    assert [line for line in text.splitlines() if line.startswith('RESULT ')] == [text.strip().splitlines()[-1]]
    assert 'empty mask' in text
    before = run('tools/test.py', str(work / 'config.py'), '--initial', '--split', 'val')
    assert 'checkpoint none: before training' in before
    assert 'RESULT split=' in before.strip().splitlines()[-1]
    image = next((trained / 'demo' / 'pretrain' / 'images').glob('*.jpg'))
    run('tools/infer.py', str(work), str(image), 'the ball', '--out', str(trained / 'answers'), '--max-new-tokens', '4')
    assert list((trained / 'answers').glob('*_overlay.png'))


@pytest.mark.slow
def test_parts_come_out_and_go_in(trained):
    run('tools/export_parts.py', str(trained / 'work'), str(trained / 'parts'))
    size = sum(f.stat().st_size for f in (trained / 'parts').rglob('*') if f.is_file())
    assert size < 8e6
    from lisa_mm.models.backbones import CLIPVisionTower
    from lisa_mm.models.language_models import CausalLM

    CLIPVisionTower(pretrained=str(trained / 'parts' / 'vision_tower'))
    tokenizer = ROOT / 'lisa_mm' / 'weights' / 'nano' / 'tokenizer'
    model = CausalLM(pretrained=str(trained / 'parts' / 'language_model'), tokenizer=str(tokenizer), template='plain')
    assert model.vocab_size == 1203


@pytest.mark.slow
def test_a_users_error_has_no_traceback(trained):
    text = run('tools/train.py', 'configs/lisa/lisa_nano_pretrain.py', '--cfg-options', 'data_root=/nowhere', ok=False)
    assert "error: data_root '/nowhere' is no folder" in text
    text = run('tools/test.py', str(trained), ok=False)
    assert 'error:' in text


@pytest.mark.slow
@pytest.mark.parametrize('stage', [2, 3])
def test_bfloat16_with_parts_read_from_files(trained, tmp_path, stage):
    """With ZeRO-3 transformers shards the language model in bfloat16; what was built beside it must have its dtype."""
    options = [f'data_root={trained}/demo', f'strategy.zero_stage={stage}', 'strategy.bf16=True', 'train_cfg.max_iters=2']
    options += ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    run('tools/train.py', 'configs/lisa/lisa_nano.py', '--work-dir', str(tmp_path), '--cfg-options', *options)
    assert (tmp_path / 'iter_2' / 'weights.safetensors').is_file()
