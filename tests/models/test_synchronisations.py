"""A step on a pretended GPU: no mixed devices, the losses of the CPU, and no waiting of the host but where it is listed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.evaluation import SegIoUMetric

from .families import DECODER_KINDS, MAKERS, mask_decoder, whole_model
from .language_families import language_model
from .pretended import OnGpu, library_of, pretended_gpu, to_pretended_gpu
from .waits import COPIES, READS, check_places
from .whole import LORA, build, put_together, sample

BATCHES = {'masks': ('two', 'one'), 'no masks': ('none',), 'text beside an image': ('text', 'one'), 'text alone': ('text',)}
OURS = {
    'put together': lambda: build(put_together()),
    'separate rows': lambda: build({**put_together(), 'language_model': {**language_model('llama'), 'share_prefix': False}}),
    'projector trained': lambda: build({**put_together(), 'projector': dict(type='MLPProjector', frozen=False)}),
    'new rows': lambda: build(put_together(), train_embeddings='new_rows'),
    'adapters in both encoders': lambda: build(
        put_together(),
        lora={
            **LORA,
            'image_encoder': dict(r=2, target_modules=['qkv']),
            'vision_tower': dict(r=2, target_modules=['q_proj']),
        },
    ),
}


def collated(model, talks):
    items = [sample(model, [(48, 64), (70, 30)][index % 2], talk, index) for index, talk in enumerate(talks)]
    pad = build_tokenizer(**model.mllm.tokenizer_spec).pad_token_id
    return seg_collate(items, pad_token_id=int(pad))


def step(model, data):
    total, parts = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    total.backward()
    return {name: value.detach() for name, value in parts.items()}


def check(model, case):
    batches = {name: collated(model, talks) for name, talks in BATCHES.items()}
    model.train()
    expected = {name: step(model, data) for name, data in batches.items()}
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    to_pretended_gpu(model)
    waited = Counter()
    for name, data in batches.items():
        with pretended_gpu() as waits:
            losses = step(model, data)
        assert all(isinstance(value, OnGpu) for value in losses.values())
        assert {key: value.inner.item() for key, value in losses.items()} == pytest.approx(
            {key: value.item() for key, value in expected[name].items()}, rel=1e-4
        )
        waited += waits
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad.inner, gradients[name], rtol=1e-3, atol=1e-6)
    copies = {place for place, kind in waited if kind == 'from the CPU'}
    reads = {place for place, kind in waited if kind != 'from the CPU'}
    check_places(map(library_of, reads), case, READS, 'read')
    check_places(map(library_of, copies), case, COPIES, 'copy')

    model.eval()
    with pretended_gpu():
        predicted = model.val_step(batches['masks'])
        metric = SegIoUMetric()
        metric.process(None, predicted)
    assert [len(image) for image in metric.results] == [3, 1]


@pytest.mark.parametrize('name', OURS)
def test_parts_of_ours(name):
    check(OURS[name](), name)


@pytest.mark.parametrize('kind', DECODER_KINDS)
def test_mask_decoders(kind):
    check(build(put_together(), mask_decoder(kind)), kind)


@pytest.mark.parametrize('family', MAKERS)
def test_whole_models(family, tmp_path):
    check(build(whole_model(family, tmp_path)), family)


@pytest.mark.parametrize('settings', [{}, {'train_embeddings': 'new_rows'}])
def test_an_answer_and_its_masks(settings):
    model = build(put_together(), **settings).eval()
    data = collated(model, ['one'])
    inputs = {name: value for name, value in data['inputs'].items() if name != 'labels'}
    here = model.data_preprocessor({**data, 'inputs': inputs})
    expected, logits = model.answer(here['inputs'], here['data_samples'][0], max_new_tokens=3, pad_token_id=3)
    to_pretended_gpu(model)
    with pretended_gpu():
        moved = model.data_preprocessor({**data, 'inputs': inputs})
        found, masks = model.answer(moved['inputs'], moved['data_samples'][0], max_new_tokens=3, pad_token_id=3)
    assert found.ids.inner.tolist() == expected.ids.tolist()
    torch.testing.assert_close(masks.inner, logits)


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    on_gpu, on_cpu = OnGpu(torch.ones(2)), torch.ones(2)
    with pretended_gpu() as waits:
        with pytest.raises(RuntimeError, match=r'aten.add.Tensor got tensors on the CPU \[\(2,\)\] and on the GPU'):
            on_gpu + on_cpu  # pyright: ignore[reportUnusedExpression] - it raises
        with pytest.raises(RuntimeError, match='indexed by one on the GPU'):
            on_cpu[OnGpu(torch.tensor([0]))]
        with pytest.raises(TypeError, match='to numpy'):
            on_gpu.numpy()
        assert not waits
        assert bool((on_gpu + 1).sum() > 3)
        assert on_gpu[on_gpu > 0].shape == (2,)
        assert torch.zeros(2, device=on_gpu.device).device.type == 'cuda'
        assert type(on_gpu.cpu()) is torch.Tensor
    assert Counter(kind for _, kind in waits.elements()) == {'value': 1, 'bool index': 1, 'to the CPU': 1}
