"""A step, a prediction and the first word of an answer on torch's fake 'cuda': no value is read but where it is listed."""

from __future__ import annotations

import copy
from unittest.mock import patch

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from .fake_cuda import FakeCuda, backward, recorded
from .families import DECODER_KINDS, MAKERS, mask_decoder, whole_model
from .language_families import LANGUAGE_FAMILIES, language_model
from .test_synchronisations import BATCHES, OURS, collated
from .waits import ANSWER, READS, Wait, check_places
from .whole import LORA, build, put_together


def loss(model, data):
    total, _ = model.parse_losses(model(**data, mode='loss'))
    backward(total)
    return [total]


def predict(model, data):
    return [sample.mask_logits for sample in model(**data, mode='predict')]


def answer(model, data):
    return [sample.mask_logits for sample in model(**data, mode='generate', max_new_tokens=1)]


def prompts(batch):
    return {**batch, 'inputs': {name: value for name, value in batch['inputs'].items() if name != 'labels'}}


def check(model, case):
    waits = [*READS, *ANSWER]
    fake_cuda = FakeCuda({wait.place for wait in waits if wait.concerns(case)}.__contains__)
    batches = {name: collated(model, BATCHES[name]) for name in ('masks', 'text alone')}
    stages = [(loss, batch) for batch in batches.values()] + [(predict, batches['masks']), (answer, prompts(batches['masks']))]
    runs = []
    for stage, batch in stages:
        model.train(stage is loss)
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        layout = data['inputs']['layout']
        with recorded() as tape:
            stage(model, data)
        runs.append((stage, fake_cuda.fake(batch), fake_cuda.fake(layout), tape))

    model.zero_grad()
    fake_cuda.move(model)
    for stage, batch, layout, tape in runs:
        model.train(stage is loss)
        with fake_cuda.running(tape), patch.object(model.data_preprocessor, 'look', lambda inputs, layout=layout: layout):
            out = stage(model, model.data_preprocessor(batch, True))
        assert all(isinstance(value, FakeTensor) and value.device.type == 'cuda' for value in out)
    trained = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert trained and all(p.grad.device.type == 'cuda' for p in trained)
    check_places(fake_cuda.asked, case, waits, 'read')


@pytest.mark.parametrize('name', OURS)
def test_parts_of_ours(name):
    check(OURS[name](), name)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_language_models(family):
    lora = {**LORA, 'target_modules': 'all-linear'}
    check(build({**put_together(), 'language_model': language_model(family)}, lora=lora), family)


@pytest.mark.parametrize('kind', DECODER_KINDS)
def test_mask_decoders(kind):
    check(build(put_together(), mask_decoder(kind)), kind)


@pytest.mark.parametrize('family', MAKERS)
def test_whole_models(family, tmp_path):
    check(build(whole_model(family, tmp_path)), family)


def test_backward_node_by_node_is_that_of_torch():
    model = build(put_together()).train()
    data = model.data_preprocessor(collated(model, BATCHES['masks']), True)
    model.parse_losses(model(**data, mode='loss'))[0].backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss(model, data)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


def test_fake_cuda_refuses_what_a_gpu_refuses():
    fake_cuda = FakeCuda(lambda place: False)
    on_gpu, on_cpu = fake_cuda.fake(torch.ones(2), 'cuda'), fake_cuda.fake(torch.ones(2))
    with recorded() as tape:
        assert torch.ones(2).sum() > 1
    with fake_cuda.running(tape):
        with pytest.raises(RuntimeError, match=r'cuda:0 and cpu'):
            on_gpu + on_cpu  # pyright: ignore[reportUnusedExpression] - it raises
        with pytest.raises(AssertionError, match=r'the host waits at .*_local_scalar_dense'):
            bool(on_gpu.sum() > 1)
    with pytest.raises(AssertionError, match=r"case: read at \['a.py'\], which is not listed"):
        check_places(['a.py'], 'case', [], 'read')
    with pytest.raises(AssertionError, match=r"case: no read at \['a.py'\]: take it out"):
        check_places([], 'case', [Wait('a.py', 'why', frozenset({'case'}))], 'read')
