"""Training with features on disk: losses with the cache off, cold and warm, and what makes an entry stale."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image
from safetensors.torch import load_file

from lisa_mm.apis.training import build_runner
from lisa_mm.errors import ConfigError
from lisa_mm.models import LISA
from lisa_mm.testing.tiny import MODEL, PIPELINE, training, write_pictures
from tests.models.families import DECODER_KINDS, mask_decoder, whole_model

ENCODERS = {'vision_tower': 'mllm', 'image_encoder': 'mask_decoder'}


def source_of(folder: Path, cache: Any = None, **changes: Any):
    source = training(copy.deepcopy(MODEL), folder, LISA)
    source.train_cfg.max_iters = 3
    source.default_hooks.checkpoint.interval = 10
    for key, value in changes.items():
        *way, last = key.split('__')
        node = source
        for step in way:
            node = node[step]
        node[last] = value
    if cache is not None:
        source.cache_features = cache
    return source


class Recorder(Hook):
    """Keeps the losses of each step, and how many images each encoder has seen."""

    def __init__(self):
        self.losses: list[dict[str, float]] = []
        self.encoded = dict.fromkeys(ENCODERS, 0)

    def before_train(self, runner):
        for name, part in ENCODERS.items():
            module = getattr(runner.strategy.module, part).frozen_encoder
            if module is None:
                continue
            module.register_forward_pre_hook(
                lambda module, args, kwargs, name=name: self._see(name, args, kwargs), with_kwargs=True
            )

    def _see(self, name, args, kwargs):
        self.encoded[name] += len(args[0] if args else kwargs['pixel_values'])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(dict(outputs or {}))


def run(source, work_dir, **settings) -> Recorder:
    runner, recorder = build_runner(source, work_dir, **settings), Recorder()
    runner.register_hook(recorder)
    runner.train()
    return recorder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    write_pictures(folder)
    return folder


@pytest.fixture
def store(tmp_path):
    return {'folder': str(tmp_path / 'store')}


def entries(store) -> list[Path]:
    return sorted(Path(store['folder']).rglob('*.safetensors'))


BF16 = {'strategy': {'type': 'LisaSingleDeviceStrategy', 'bf16': True}}
WORKERS = {'train_dataloader__num_workers': 2, 'train_dataloader__persistent_workers': True}
CASES = {
    'float32': {},
    'autocast': BF16,
    'workers': WORKERS,
    'frozen projector': {'model__mllm__projector__frozen': True},
}


def check_equal(pictures, store, tmp_path, **changes):
    off = run(source_of(pictures, **changes), tmp_path / 'off')
    cold = run(source_of(pictures, store, **changes), tmp_path / 'cold')
    warm = run(source_of(pictures, store, **changes), tmp_path / 'warm')
    assert len(off.losses) == 3
    assert cold.losses == off.losses
    assert warm.losses == off.losses
    assert sum(warm.encoded.values()) == 0
    return off, cold


@pytest.mark.parametrize('case', CASES)
def test_off_cold_and_warm_are_equal_to_the_bit(pictures, store, tmp_path, case):
    off, cold = check_equal(pictures, store, tmp_path, **CASES[case])
    assert off.encoded['vision_tower'] == 6
    if case != 'workers':  # they look the next batches up before this one is encoded
        assert 0 < cold.encoded['vision_tower'] <= 4  # three pictures and the image of text alone, each once


@pytest.mark.slow
@pytest.mark.parametrize('kind', DECODER_KINDS)
def test_mask_decoders_of_transformers(pictures, store, tmp_path, kind):
    check_equal(pictures, store, tmp_path, model__mask_decoder=mask_decoder(kind))


@pytest.mark.slow
def test_a_whole_model_keeps_only_the_mask_decoders_features(pictures, store, tmp_path):
    changes = {'model__mllm': whole_model('llava', tmp_path / 'llava')}
    off = run(source_of(pictures, **changes), tmp_path / 'off')
    cold = run(source_of(pictures, store, **changes), tmp_path / 'cold')
    warm = run(source_of(pictures, store, **changes), tmp_path / 'warm')
    assert cold.losses == off.losses and warm.losses == off.losses
    assert warm.encoded['image_encoder'] == 0 < off.encoded['image_encoder']


@pytest.mark.parametrize(('dtype', 'epsilon'), [('float16', 2**-10), ('bfloat16', 2**-7)])
def test_half_formats_are_close_and_independent_of_what_was_there(pictures, store, tmp_path, dtype, epsilon):
    off = run(source_of(pictures), tmp_path / 'off')
    half = {**store, 'dtype': dtype}
    cold = run(source_of(pictures, half), tmp_path / 'cold')
    warm = run(source_of(pictures, half), tmp_path / 'warm')
    assert warm.losses == cold.losses
    assert warm.losses != off.losses
    for found, expected in zip(warm.losses, off.losses, strict=True):
        assert found == pytest.approx(expected, rel=epsilon)
    whole = run(source_of(pictures, store), tmp_path / 'whole')  # another format, other entries
    assert whole.losses == off.losses


def test_hits_and_misses_mix_in_a_batch(pictures, store, tmp_path):
    off = run(source_of(pictures), tmp_path / 'off')
    run(source_of(pictures, store), tmp_path / 'cold')
    every = len(entries(store))
    for path in entries(store)[::2]:
        path.unlink()
    mixed = run(source_of(pictures, store), tmp_path / 'mixed')
    assert mixed.losses == off.losses
    assert len(entries(store)) == every
    assert 0 < sum(mixed.encoded.values()) < sum(off.encoded.values())


def test_damaged_entries_are_made_again(pictures, store, tmp_path):
    cold = run(source_of(pictures, store), tmp_path / 'cold')
    # copies: the tensors of a file are mapped, and its bytes change below
    contents = {path: {name: value.clone() for name, value in load_file(path).items()} for path in entries(store)}
    for number, path in enumerate(contents):
        data = path.read_bytes()
        path.write_bytes(data[:-1] if number % 2 else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    again = run(source_of(pictures, store), tmp_path / 'again')
    assert again.losses == cold.losses and again.encoded == cold.encoded
    assert entries(store) == list(contents)
    for path, maps in contents.items():
        assert all(torch.equal(value, maps[name]) for name, value in load_file(path).items())


def test_an_image_that_changes_under_its_name_is_encoded_again(pictures, store, tmp_path):
    run(source_of(pictures, store), tmp_path / 'cold')
    for name in ('a.png', 'b.png', 'c.png'):
        Image.open(pictures / name).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(pictures / name)
    off = run(source_of(pictures), tmp_path / 'off')
    changed = run(source_of(pictures, store), tmp_path / 'changed')
    assert changed.losses == off.losses and changed.encoded['image_encoder'] > 0


@pytest.mark.parametrize(
    'change',
    [
        {'randomness': {'seed': 1}},  # other weights
        {'model__mask_decoder__image_encoder__num_heads': 4, 'model__mllm__vision_tower__config__num_attention_heads': 4},
        {'model__mask_decoder__image_encoder__window_size': 3, 'model__mllm__vision_tower__layer': -1},
        BF16,
    ],
    ids=['weights', 'heads', 'window and layer', 'number format'],
)
def test_what_changes_features_changes_their_key(pictures, store, tmp_path, change):
    run(source_of(pictures, store), tmp_path / 'cold')
    off = run(source_of(pictures, **change), tmp_path / 'off')
    changed = run(source_of(pictures, store, **change), tmp_path / 'changed')
    assert changed.losses == off.losses
    assert changed.encoded['vision_tower'] > 0 and changed.encoded['image_encoder'] > 0


def test_image_preprocessing_changes_the_key(pictures, store, tmp_path):
    run(source_of(pictures, store), tmp_path / 'cold')
    change = {'model__mllm__vision_tower__full_view': False}
    off = run(source_of(pictures, **change), tmp_path / 'off')
    changed = run(source_of(pictures, store, **change), tmp_path / 'changed')
    assert changed.losses == off.losses
    assert changed.encoded['vision_tower'] > 0 and changed.encoded['image_encoder'] == 0


def test_a_trained_encoder_is_left_out(pictures, store, tmp_path):
    change = {'model__mllm__vision_tower__frozen': False}
    off = run(source_of(pictures, **change), tmp_path / 'off')
    run(source_of(pictures, store, **change), tmp_path / 'cold')
    warm = run(source_of(pictures, store, **change), tmp_path / 'warm')
    assert warm.losses == off.losses
    assert warm.encoded == {'vision_tower': 6, 'image_encoder': 0}


def test_an_adapted_encoder_is_left_out(pictures, store, tmp_path):
    lora = {**MODEL['lora'], 'image_encoder': {'r': 2, 'target_modules': 'all-linear'}}
    off = run(source_of(pictures, model__lora=lora), tmp_path / 'off')
    run(source_of(pictures, store, model__lora=lora), tmp_path / 'cold')
    warm = run(source_of(pictures, store, model__lora=lora), tmp_path / 'warm')
    assert warm.losses == off.losses
    assert warm.encoded['vision_tower'] == 0 and warm.encoded['image_encoder'] == off.encoded['image_encoder'] > 0


def test_batches_without_masks(pictures, store, tmp_path):
    lines = (pictures / 'train.jsonl').read_text().splitlines()
    (pictures / 'train.jsonl').write_text('\n'.join(lines[3:]) + '\n')  # a picture without masks, and text alone
    off = run(source_of(pictures), tmp_path / 'off')
    run(source_of(pictures, store), tmp_path / 'cold')
    warm = run(source_of(pictures, store), tmp_path / 'warm')
    assert warm.losses == off.losses
    assert sum(warm.encoded.values()) == 0


def test_images_on_disk_are_not_decoded(pictures, store, tmp_path, monkeypatch):
    lines = (pictures / 'train.jsonl').read_text().splitlines()
    # an image that no question wants a mask of is not encoded for the mask decoder
    (pictures / 'train.jsonl').write_text('\n'.join(lines[:3]) + '\n')
    warm = run(source_of(pictures, store), tmp_path / 'cold')

    def refuse(*args, **kwargs):
        raise AssertionError('an image is decoded')

    monkeypatch.setattr('lisa_mm.datasets.transforms.images.read_image', refuse)
    again = run(source_of(pictures, store), tmp_path / 'warm')
    assert again.losses == warm.losses


def test_a_resumed_training_goes_on_alike(pictures, store, tmp_path):
    whole = run(source_of(pictures, store, train_cfg__max_iters=4), tmp_path / 'whole')
    begun = source_of(pictures, store, train_cfg__max_iters=2, default_hooks__checkpoint__interval=2)
    run(begun, tmp_path / 'parts')
    rest = run(source_of(pictures, store, train_cfg__max_iters=4), tmp_path / 'parts', resume=True)
    assert rest.losses == whole.losses[2:]


def test_a_folder_that_cannot_be_written(pictures, store, tmp_path, monkeypatch):
    off = run(source_of(pictures), tmp_path / 'off')
    Path(store['folder']).write_text('a file')
    uncached = run(source_of(pictures, store), tmp_path / 'uncached')
    assert uncached.losses == off.losses


def test_validation_uses_it(pictures, store, tmp_path):
    source = source_of(pictures, store, log_level='WARNING')
    loader = copy.deepcopy(source.train_dataloader)
    loader.sampler = {'type': 'DefaultSampler', 'shuffle': False}
    loader.dataset.test_mode = True
    source.val_dataloader, source.val_cfg, source.val_evaluator = loader, {}, {'type': 'SegIoUMetric'}
    recorder = run(source, tmp_path / 'one')
    assert recorder.encoded['vision_tower'] == 4  # training and validation together see each image once
    again = run(source, tmp_path / 'two')
    assert again.losses == recorder.losses and sum(again.encoded.values()) == 0


def test_the_work_folder_keeps_the_key(pictures, store, tmp_path):
    source = source_of(pictures, True)
    assert 'cache_features' in (build_runner(source, tmp_path / 'work').config_text or '')


class TestRefused:
    """Configs that are faults before training starts."""

    def fault(self, pictures, cache, **changes):
        from lisa_mm.config import compile_config

        with pytest.raises(ConfigError) as caught:
            compile_config(source_of(pictures, cache, **changes))
        return str(caught.value)

    @pytest.mark.parametrize(
        ('cache', 'said'),
        [
            ('yes', "cache_features is 'yes'; give True"),
            ({'foldr': 'x'}, "'foldr'.*folder"),
            ({'dtype': 'half'}, "dtype is 'half'; allowed: 'float32'"),
            ({'max_gib': 0}, 'max_gib is 0; give'),
            ({'max_gib': 'much'}, "max_gib is 'much'"),
        ],
    )
    def test_values(self, pictures, cache, said):
        import re

        assert re.search(said, self.fault(pictures, cache))

    def test_augmentation(self, pictures):
        flipped = [*PIPELINE[:2], {'type': 'mmcv.RandomFlip', 'prob': 0.5}, *PIPELINE[2:]]
        told = self.fault(pictures, True, train_dataloader__dataset__pipeline=flipped)
        assert 'RandomFlip stands between LoadImage' in told and 'train_dataloader.dataset.pipeline' in told

    def test_another_loader(self, pictures):
        pipeline = [{'type': 'mmcv.LoadImageFromFile'}, *PIPELINE[1:]]
        assert 'read by LoadImage' in self.fault(pictures, True, train_dataloader__dataset__pipeline=pipeline)

    def test_nothing_is_frozen(self, pictures):
        told = self.fault(
            pictures, True, model__mllm__vision_tower__frozen=False, model__mask_decoder__image_encoder__frozen=False
        )
        assert 'mllm.vision_tower is not frozen (trained)' in told and 'mask_decoder.image_encoder' in told

    def test_zero_3(self, pictures):
        told = self.fault(pictures, True, strategy={'type': 'LisaDeepSpeedStrategy', 'zero_stage': 3})
        assert 'strategy.zero_stage=2' in told

    def test_false_is_off(self, pictures):
        from lisa_mm.config import compile_config

        compiled = compile_config(source_of(pictures, False))
        assert 'cache_features' not in compiled and not compiled.get('custom_hooks')


def test_features_do_not_depend_on_the_batch(pictures):
    """What makes a mixture of found and new features equal to a batch of new ones."""
    from lisa_mm.config import compile_config
    from lisa_mm.registry import MODELS

    model: Any = MODELS.build(compile_config(source_of(pictures)).model.to_dict()).eval()
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together = model.mask_decoder.encode_image(pixels).features
        alone = torch.cat([model.mask_decoder.encode_image(pixels[n : n + 1]).features for n in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-6)
