"""Published checkpoints in and out, on what the golden folder holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.loading import load_model, resolve
from lisa_mm.apis.testing import evaluate
from lisa_mm.apis.training import build_runner
from lisa_mm.checkpoints.exported import load_exported
from lisa_mm.checkpoints.exporting import export_checkpoint
from lisa_mm.checkpoints.importing import import_checkpoint
from lisa_mm.checkpoints.sources import WeightFiles
from lisa_mm.checkpoints.table import FAULTS, IGNORED, MERGED
from lisa_mm.config import compile_config, load_config
from lisa_mm.errors import CheckpointError, ConfigError, DataError
from lisa_mm.models import LISA

from .checkpoints import (
    alpha_of,
    clip_folder,
    import_lisa,
    import_start,
    import_state,
    lisa_folder,
    llava_folder,
    read_all,
    rewrite,
    sam_file,
    state_file,
)
from .golden import batch_of, close

SIDECARS = ('config.json', 'generation_config.json', 'added_tokens.json', 'special_tokens_map.json', 'tokenizer_config.json')


@pytest.fixture(scope='module')
def imported(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp('imported') / 'lisa'
    import_lisa(golden, folder)
    return folder


def shard_limit(golden) -> str:
    """A --max-shard-size that gives the golden folder's shards: their largest one."""
    index = json.loads((lisa_folder(golden) / 'pytorch_model.bin.index.json').read_text())['weight_map']
    sizes = dict.fromkeys(index.values(), 0)
    for name, info in WeightFiles(lisa_folder(golden)).info.items():
        sizes[index[name]] += info.nbytes
    return f'{max(sizes.values()) / 1000}KB'


def same_tensors(one: Path, other: Path) -> None:
    a, b = read_all(one), read_all(other)
    assert list(a) == list(b)
    assert all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def test_import_then_export_is_the_same_folder(golden, imported, tmp_path):
    export_checkpoint(imported, tmp_path / 'out', max_shard_size=shard_limit(golden))
    original = lisa_folder(golden)
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == sorted(p.name for p in original.iterdir())
    same_tensors(tmp_path / 'out', original)
    for name in (*SIDECARS, 'pytorch_model.bin.index.json'):
        assert json.loads((tmp_path / 'out' / name).read_text()) == json.loads((original / name).read_text()), name
    assert (tmp_path / 'out' / 'tokenizer.model').read_bytes() == (original / 'tokenizer.model').read_bytes()


@pytest.mark.parametrize('buffers', [torch.bfloat16, torch.float32])
def test_bfloat16_safetensors_round_trip(golden, tmp_path, buffers):
    """As published: bfloat16; the rotary buffers may be float32 all the same."""
    state = {
        name: value.to(buffers if name.endswith('inv_freq') else torch.bfloat16)
        for name, value in read_all(lisa_folder(golden)).items()
    }
    source = rewrite(lisa_folder(golden), tmp_path / 'source', state, shards=3)
    import_lisa(golden, tmp_path / 'ours', source, max_shard_size='300KB')
    assert len(list((tmp_path / 'ours').glob('model-*.safetensors'))) > 1
    export_checkpoint(tmp_path / 'ours', tmp_path / 'out')
    written = read_all(tmp_path / 'out')
    assert written.keys() == state.keys()
    assert all(written[name].dtype == state[name].dtype and torch.equal(written[name], state[name]) for name in state)


def test_merging_a_training_state_gives_the_published_tensors(golden, tmp_path, record_deviation):
    table = import_state(golden, tmp_path / 'ours')
    state = read_all(state_file(golden))
    assert len(table.of(MERGED)) == sum('.lora_' in name for name in state)
    export_checkpoint(tmp_path / 'ours', tmp_path / 'out', max_shard_size=shard_limit(golden))
    merged, wanted = read_all(tmp_path / 'out'), read_all(lisa_folder(golden))
    assert list(merged) == list(wanted)
    for name, value in wanted.items():
        layer = f'base_model.model.{name.removesuffix(".weight")}'
        if f'{layer}.lora_A.default.weight' not in state:
            assert torch.equal(merged[name], value), name
            continue
        down, up = (state[f'{layer}.lora_{side}.default.weight'] for side in 'AB')
        rank = len(down)
        # r products and sums, the scaling, the last sum: each rounds once, to eps of the sum of magnitudes
        magnitude = state[f'{layer}.weight'].abs() + alpha_of(golden) / rank * (up.abs() @ down.abs())
        bound = (rank + 2) * torch.finfo(torch.float32).eps * magnitude
        difference = (merged[name] - value).abs()
        record_deviation('merged LoRA (share of the bound)', float((difference / bound).max()))
        assert (difference <= bound).all(), name
    for name in SIDECARS:
        ours = json.loads((tmp_path / 'out' / name).read_text())
        assert ours == json.loads((lisa_folder(golden) / name).read_text()), name


def test_a_training_state_in_shards_without_config(golden, tmp_path):
    """zero_to_fp32 of newer DeepSpeed writes a folder of shards with an index."""
    state = read_all(state_file(golden))
    (tmp_path / 'empty').mkdir()
    source = rewrite(tmp_path / 'empty', tmp_path / 'state', state, shards=3)
    import_state(golden, tmp_path / 'one')
    import_state(golden, tmp_path / 'two', source)
    one, two = read_all(tmp_path / 'one'), read_all(tmp_path / 'two')
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_nothing_is_unexplained_and_every_tensor_is_named(golden, imported, tmp_path):
    table = import_lisa(golden, tmp_path / 'again')
    listed = {row.source for row in table.rows}
    assert listed == set(read_all(lisa_folder(golden))) | set(read_all(clip_folder(golden)))
    assert not [row for row in table.rows if row.status in FAULTS]
    assert all(row.note for row in table.of(IGNORED))
    assert len((imported / 'tensors.txt').read_text().splitlines()) == 1 + len(table.rows)


def losses_of(model, golden, name):
    inputs, samples = batch_of(golden.arrays(name), model.mllm.num_image_tokens(0, 0))
    with torch.no_grad():
        return model(inputs, samples, mode='loss')


def test_the_loss_at_step_0_is_the_checkpoints(golden, imported, batch_name):
    """Fresh adapters on a loaded folder, in training mode with their dropout on."""
    compiled = compile_config(load_config(imported / 'config.py'))
    model = LISA(**{key: value for key, value in compiled.model.to_dict().items() if key != 'type'})
    assert load_exported(model, imported, whole=False) == []
    losses = losses_of(model.train(), golden, batch_name)
    wanted = golden.cases[batch_name]['losses_merged_checkpoint']
    assert close(float(sum(losses.values())), wanted['loss'], 1e-4)
    assert close(float(losses['loss_ce']), wanted['ce_loss'], 1e-4)


def options(golden):
    return [
        f'data_root={golden.root / "dataset"}',
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=100',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.batch_size=1',
        'test_dataloader.num_workers=0',
        'test_dataloader.dataset.split=val',
        'strategy.type=LisaSingleDeviceStrategy',
        'strategy.zero_stage=None',
        'strategy.accumulation=1',
        'custom_hooks=[]',
    ]


def quick(source):
    source = source.copy()
    source.pop('val_dataloader')
    source.strategy = dict(type='LisaSingleDeviceStrategy', gradient_clipping=1.0)
    return source


@pytest.fixture(scope='module')
def fine_tuned(golden, imported, tmp_path_factory):
    """A work folder of two steps that began with the imported folder."""
    work_dir = tmp_path_factory.mktemp('fine') / 'work'
    given = [o for o in options(golden) if not o.startswith('strategy')]
    source = quick(load_config(imported / 'config.py', (), given))
    build_runner(source, work_dir, launcher='none').train()
    (work_dir / 'config.py').write_text(source.pretty_text)
    return work_dir


def test_fine_tuning_keeps_projection_and_decoder(golden, imported, fine_tuned):
    """The checkpoint of a training from a folder: evaluated alone, and small: frozen parts are in the folder it began with."""
    model, _ = load_model(*resolve(fine_tuned))
    start = read_all(imported)
    state = model.state_dict()
    frozen = [name for name in start if name.startswith(('mllm.projector.', 'mask_decoder.image_encoder.'))]
    assert frozen and all(torch.equal(state[name], start[name].float()) for name in frozen)
    held = WeightFiles(sorted(fine_tuned.glob('iter_*'))[-1] / 'weights.safetensors').info
    assert not set(held) & set(frozen)
    # warm-up leaves the first steps small: the trained parts are near where they began
    for name in ('seg_head.projection.0.weight', 'mask_decoder.decoder.iou_token.weight'):
        assert name in held and torch.allclose(state[name], start[name].float(), atol=1e-3), name


def test_a_trained_checkpoint_goes_out_in_both_layouts(golden, fine_tuned, tmp_path):
    export_checkpoint(fine_tuned, tmp_path / 'folder', layout='folder')
    export_checkpoint(fine_tuned, tmp_path / 'lisa')
    import_lisa(golden, tmp_path / 'back', tmp_path / 'lisa')
    one, two = read_all(tmp_path / 'folder'), read_all(tmp_path / 'back')
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    name = next(k for k, v in golden.cases.items() if isinstance(v, dict) and 'losses' in v)
    trained, _ = load_model(*resolve(fine_tuned))
    merged, _ = load_model(*resolve(tmp_path / 'folder'))
    a, b = losses_of(trained, golden, name), losses_of(merged, golden, name)
    assert all(close(float(a[key]), float(b[key]), 1e-4) for key in a)


def test_import_takes_our_own_checkpoint(fine_tuned, tmp_path):
    table = import_checkpoint(fine_tuned, tmp_path / 'ours')
    assert table.of(MERGED)
    load_model(*resolve(tmp_path / 'ours'))


def test_a_folder_answers_and_is_evaluated_alone_wherever_it_is(golden, imported, tmp_path):
    cases = json.loads((golden.root / 'evaluate.json').read_text())['cases']
    image = golden.root / 'dataset' / next(iter(cases.values() if isinstance(cases, dict) else cases))['image']
    moved = tmp_path / "a folder's copy, moved"
    shutil.copytree(imported, moved)
    answers = [LISAInferencer(folder)(image, 'What is this?', max_new_tokens=8) for folder in (imported, moved)]
    assert answers[0].text == answers[1].text
    assert (answers[0].mask_logits == answers[1].mask_logits).all()
    config, checkpoint = resolve(moved)
    given = [o for o in options(golden) if o.startswith(('data_root', 'test_'))]
    result = evaluate(load_config(config, (), given), checkpoint)
    assert result['n'] > 0 and 0 <= result['gIoU'] <= 1


def test_an_image_is_encoded_once_for_all_its_questions(golden, imported, monkeypatch):
    """A file, Pillow's image and an array are one image; the answers are those of a model that never saw it before."""
    first, second = (path for path in sorted((golden.root / 'dataset').rglob('*.jpg'))[:2])
    with Image.open(first) as opened:
        forms = (first, str(first), opened.convert('RGB'), np.array(opened.convert('RGB')))
    inferencer = LISAInferencer(imported)
    calls = []
    encode = inferencer.model.mask_decoder.encode_image
    monkeypatch.setattr(inferencer.model.mask_decoder, 'encode_image', lambda pixels: calls.append(1) or encode(pixels))
    history = [('What is this?', 'It is [SEG].')]  # a [SEG] that is there whatever these weights answer
    answers = [inferencer(form, 'And this?', history=history, max_new_tokens=2) for form in forms]
    assert len(calls) == 1
    inferencer(second, 'And this?', history=history, max_new_tokens=2)
    assert len(calls) == 2
    inferencer(second, 'What is this?', max_new_tokens=1)
    again = inferencer(first, 'And this?', history=history, max_new_tokens=2)
    assert len(calls) == 3
    for answer in (*answers, again):
        assert len(answer.masks) >= 1 and answer.text == answers[0].text
        assert (answer.mask_logits == answers[0].mask_logits).all()
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DataError, match=r'Give a file, an image of Pillow, or \(H, W, 3\) uint8 in RGB'):
            inferencer(wrong, 'What is this?')


def test_answers_and_scores_in_half_precision(golden, imported):
    image = sorted((golden.root / 'dataset').rglob('*.jpg'))[0]
    half = LISAInferencer(imported, dtype='bfloat16')
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    answer = half(image, 'What is this?', max_new_tokens=8)
    assert str(answer.mask_logits.dtype) == 'float32'
    config, checkpoint = resolve(imported)
    source = load_config(config, (), [o for o in options(golden) if o.startswith(('data_root', 'test_'))])
    exact, rounded = (evaluate(source, checkpoint, dtype=dtype) for dtype in ('float32', 'bfloat16'))
    assert rounded['n'] == exact['n']
    assert rounded['gIoU'] == pytest.approx(exact['gIoU'], abs=0.02) and rounded['gIoU'] != exact['gIoU']
    with pytest.raises(ConfigError, match=r"dtype 'bf16' is unknown.*bfloat16"):
        load_model(config, checkpoint, dtype='bf16')


def test_parts_from_before_lisa_are_a_start_and_no_model(golden, tmp_path):
    import_start(golden, tmp_path / 'start')
    with pytest.raises(CheckpointError, match=r'does not hold seg_head.*load_from'):
        load_model(*resolve(tmp_path / 'start'))
    with pytest.raises(CheckpointError, match='no trained'):
        export_checkpoint(tmp_path / 'start', tmp_path / 'out')
    compiled = compile_config(load_config(tmp_path / 'start' / 'config.py'))
    model = LISA(**{key: value for key, value in compiled.model.to_dict().items() if key != 'type'})
    assert load_exported(model, tmp_path / 'start', whole=False) == ['seg_head']
    base = read_all(llava_folder(golden))['lm_head.weight']
    head = model.mllm.language_model.output_embeddings().weight
    assert torch.equal(head[: len(base)], base) and len(head) > model.seg_token_id
    assert torch.allclose(head[len(base) :], base.mean(0).expand(len(head) - len(base), -1))


def test_the_projector_of_llava_1_5(golden, tmp_path):
    """Two layers, named model.mm_projector.0 and .2; in and out again."""
    state = read_all(lisa_folder(golden))
    first = {leaf: state.pop(f'model.mm_projector.{leaf}') for leaf in ('weight', 'bias')}
    width = len(first['bias'])
    layers = {'0': first, '2': {'weight': torch.eye(width), 'bias': torch.zeros(width)}}
    state |= {f'model.mm_projector.{i}.{leaf}': value for i, layer in layers.items() for leaf, value in layer.items()}
    source = rewrite(lisa_folder(golden), tmp_path / 'source', state)
    import_lisa(golden, tmp_path / 'ours', source, template='vicuna_v1')
    compiled = compile_config(load_config(tmp_path / 'ours' / 'config.py'))
    assert compiled.model.mllm.projector.type == 'MLPProjector'
    export_checkpoint(tmp_path / 'ours', tmp_path / 'out')
    written = read_all(tmp_path / 'out')
    assert written.keys() == state.keys() and all(torch.equal(written[name], state[name]) for name in state)


def test_sam_and_clip_alone(golden, tmp_path):
    import_checkpoint(sam_file(golden), tmp_path / 'sam')
    import_checkpoint(clip_folder(golden), tmp_path / 'clip')
    assert {name.split('.')[0] for name in read_all(tmp_path / 'sam')} == {'mask_decoder'}
    assert all(name.startswith('mllm.vision_tower.') for name in read_all(tmp_path / 'clip'))
