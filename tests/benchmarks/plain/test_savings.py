"""The plain pieces compute what this package computes, one by one and all together, and leave no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.plain.savings import SAVINGS, only, replaced, savings_of
from benchmarks.presets import PRESETS
from benchmarks.turns.work import ask_step, batch_of, build, validate_step
from lisa_mm.datasets.transforms import ResizeForMaskDecoder, ResizeForVisionTower
from lisa_mm.models.mask_decoders.sam_mask_decoder import SAM_MEAN, SAM_STD

TINY = PRESETS['tiny']
EVERY = [*SAVINGS, 'all']


def without(name):
    """Everything on but one saving, or nothing on."""
    return only(()) if name == 'all' else only(set(SAVINGS) - {name})


def losses_and_gradients(model, batch):
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    sum(losses.values()).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {name: value.detach() for name, value in losses.items()}, gradients


@pytest.fixture(scope='module')
def trained():
    """A model whose LoRA is no longer zero; without dropout, which is drawn in another order."""
    model = build(TINY, 'train', shared=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name, parameter in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize('name', [name for name in EVERY if name == 'all' or name in savings_of('train')])
def test_losses_and_gradients(trained, name):
    batch = batch_of(trained, TINY, 2)
    expected, expected_gradients = losses_and_gradients(trained, batch)
    with without(name):
        found, gradients = losses_and_gradients(trained, batch)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == expected_gradients.keys()
    for key, value in expected_gradients.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f'{key}: {text}')


def with_a_row_of_words(batch):
    """The last row without its image and mask, and the last image without masks."""
    inputs, (first, last) = batch['inputs'], batch['data_samples']
    ids = inputs['input_ids'][:4].clone()
    ids[3, ids[3] < 0] = 7
    ids[3, -3] = 7
    last = last.new()
    last.set_data({'gt_masks': torch.zeros(0, *TINY.size, dtype=torch.uint8)})
    more = {name: inputs[name][:4] for name in ('labels', 'attention_mask', 'image_index')}
    return {'inputs': {**inputs, **more, 'input_ids': ids}, 'data_samples': [first, last]}


@pytest.mark.parametrize('name', [name for name in EVERY if name == 'all' or name in savings_of('train')])
def test_an_image_without_masks_and_a_row_without_image(trained, name):
    batch = with_a_row_of_words(batch_of(trained, TINY, 2))
    expected, _ = losses_and_gradients(trained, batch)
    with without(name):
        found, _ = losses_and_gradients(trained, batch)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope='module')
def asked():
    return build(TINY, 'validate', shared=True)


@pytest.mark.parametrize('name', [name for name in EVERY if name == 'all' or name in savings_of('validate')])
def test_counts(asked, name):
    expected = validate_step(asked, TINY)()
    with without(name):
        assert validate_step(asked, TINY)() == pytest.approx(expected, abs=2)  # a pixel at the threshold


@pytest.mark.parametrize('name', [name for name in EVERY if name == 'all' or name in savings_of('questions')])
def test_answers(asked, name, monkeypatch):
    told = []
    decode = asked.mask_decoder.upscale

    def upscale(logits, *sizes):
        told.append(logits.mean((1, 2)))
        return decode(logits, *sizes)

    monkeypatch.setattr(asked.mask_decoder, 'upscale', upscale)
    expected = ask_step(asked, TINY, 3)()
    expected_logits = torch.cat(told)
    told.clear()
    with without(name):
        assert ask_step(asked, TINY, 3)() == expected
    torch.testing.assert_close(torch.cat(told), expected_logits, rtol=1e-4, atol=1e-4)


def test_readers():
    image = np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    clip = dict(
        size={'shortest_edge': 32}, crop_size={'height': 32, 'width': 32}, do_center_crop=True, do_resize=True, resample=3
    )
    steps = [ResizeForVisionTower(clip), ResizeForMaskDecoder(dict(image_size=64, resize='longest_side'))]
    results = {'img': image, 'sample_id': 'a'}
    plain = results
    for step in steps:
        results = step.transform(results)
        with only(()):
            plain = step.transform(plain)
    height, width = results['resized_size']
    assert plain['resized_size'] == (height, width)
    assert plain['pixel_values'].dtype == plain['mask_image'].dtype == np.float32
    expected = (results['mask_image'] - np.reshape(SAM_MEAN, (3, 1, 1))) / np.reshape(SAM_STD, (3, 1, 1))
    expected[:, height:] = expected[:, :, width:] = 0
    np.testing.assert_allclose(plain['mask_image'], expected, atol=1e-5)


def test_everything_is_put_back():
    class Owner:
        a = 1

    class Heir(Owner):
        pass

    with replaced(Heir, a=2):
        assert Heir.a == 2
    assert Heir.a == 1 and 'a' not in vars(Heir)
    before = SAVINGS['shared_answers'].off
    assert before is SAVINGS['shared_answers'].off
    from lisa_mm.models import LISA

    own = dict(vars(LISA))
    with only(()):
        assert dict(vars(LISA)) != own
    assert dict(vars(LISA)) == own


def test_an_unknown_saving_is_refused():
    with pytest.raises(ValueError, match=r'unknown savings \[.cahce.\]'), only(['cahce']):
        pass


def test_each_need_is_a_saving_of_the_same_work():
    for saving in SAVINGS.values():
        for name in saving.needs:
            assert set(saving.work) <= set(SAVINGS[name].work)
