"""The losses of a model are any registered ones, by name, and the model is any subclass of LISA."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lisa_mm
from lisa_mm.config import compile_config, compile_with_model, load_config
from lisa_mm.errors import ConfigError
from lisa_mm.models import LISA
from lisa_mm.models.base import BaseLoss
from lisa_mm.models.losses import MaskLoss
from lisa_mm.planning.report import build_on_shapes
from lisa_mm.registry import LOSSES, MODELS

from .whole import LOSSES as THREE
from .whole import batch, build, put_together, sample


@LOSSES.register_module()
class QuietStates(BaseLoss):
    """A loss on hidden states."""

    def forward(self, outputs, data_samples):
        return outputs['hidden_states'].float().square().mean()


@LOSSES.register_module()
class MaskClasses(BaseLoss):
    """A head of its own over the prompts, with parameters that only batches with masks reach."""

    def __init__(self, weight: float = 1.0):
        super().__init__(weight)
        self.head = nn.Linear(16, 3)

    def forward(self, outputs, data_samples):
        prompts = torch.cat(outputs['prompts'])
        if not len(prompts):
            return prompts.new_zeros(())
        return self.head(prompts).logsumexp(-1).mean()


@LOSSES.register_module()
class OldStyle(BaseLoss):
    """As losses were written before."""

    def forward(self, logits, targets):
        return (logits - targets).abs().mean()


@LOSSES.register_module()
class L1Masks(MaskLoss):
    """Of masks alone."""

    def mask_loss(self, logits, targets):
        return (logits.sigmoid() - targets).abs().mean()


def losses_of(talk, train=True, **losses):
    """The model and its losses of a batch of one image."""
    model = build(put_together(), losses={**THREE, **losses}).train(train)
    return model, model(**batch(model, sample(model, (48, 64), talk)), mode='loss')


def test_a_fourth_loss_is_one_entry():
    _, plain = losses_of('two')
    model, found = losses_of('two', quiet=dict(type='QuietStates', weight=0.25))
    assert list(found) == ['loss_ce', 'loss_mask_bce', 'loss_mask_dice', 'loss_quiet']
    assert {key: found[key].item() for key in plain} == {key: value.item() for key, value in plain.items()}
    states = model(**batch(model, sample(model, (48, 64), 'two')), mode='tensor')['hidden_states']
    assert found['loss_quiet'].item() == pytest.approx(0.25 * states.square().mean().item(), rel=1e-6)


def test_none_leaves_a_loss_out():
    _, plain = losses_of('two')
    _, found = losses_of('two', dice=None)
    assert {key: value.item() for key, value in found.items()} == {key: plain[key].item() for key in ('loss_ce', 'loss_mask_bce')}
    _, found = losses_of('two', ce=None, bce=None, dice=dict(type='L1Masks'))
    assert list(found) == ['loss_mask_dice']


def test_the_mean_is_over_the_masks_of_the_batch():
    model = build(put_together(), losses=dict(l1=dict(type='L1Masks')))
    data = batch(model, sample(model, (48, 64), 'two'), sample(model, (70, 30), 'one', 1), sample(model, (20, 20), 'none', 2))
    masks = model(**data, mode='tensor')['mask_logits']
    each = [
        (logit.sigmoid() - target).abs().mean().item()
        for logits, item in zip(masks, data['data_samples'], strict=True)
        for logit, target in zip(logits, item.gt_masks, strict=True)
    ]
    assert len(each) == 4
    assert model(**data, mode='loss')['loss_l1'].item() == pytest.approx(sum(each) / 4, rel=1e-5)


@pytest.mark.parametrize('talk', ['none', 'text'])
def test_parameters_that_a_batch_without_masks_does_not_reach_get_zeros(talk):
    model, found = losses_of(talk, classes=dict(type='MaskClasses'))
    assert found['loss_mask_bce'] == found['loss_mask_dice'] == found['loss_classes'] == 0
    total, _ = model.parse_losses(found)
    total.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    gradient = model.losses['classes'].get_parameter('head.weight').grad
    assert gradient is not None and not gradient.any()


def test_evaluation_mode_has_losses_of_a_batch_without_masks():
    _, found = losses_of('none', train=False)
    assert found['loss_mask_bce'] == found['loss_mask_dice'] == 0
    assert found['loss_ce'] > 0


@pytest.mark.parametrize(
    ('losses', 'message'),
    [
        (dict.fromkeys(THREE), 'model.losses is empty'),
        (dict(mask_bce=dict(type='L1Masks')), "has 'bce' and 'mask_bce', and the log would name both loss_mask_bce"),
        (dict(old=dict(type='OldStyle')), r'model.losses.old: OldStyle.forward takes logits and targets'),
    ],
)
def test_what_cannot_be_used_is_said(losses, message):
    with pytest.raises(ConfigError, match=message):
        losses_of('two', **losses)


@MODELS.register_module()
class LouderLISA(LISA):
    """A model of a plugin: one more argument, and another loss."""

    def __init__(self, *, loudness: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.loudness = loudness

    def loss(self, inputs, data_samples):
        return {key: value * self.loudness for key, value in super().loss(inputs, data_samples).items()}


@MODELS.register_module()
class Stranger(nn.Module):
    """Not a LISA."""


def test_a_subclass_of_the_model_is_one_edit_of_a_config():
    nano = lisa_mm.get_config('lisa/lisa_nano')
    source = load_config(nano, (), ('model.type=LouderLISA', 'model.loudness=2.0'))
    compiled, model = compile_with_model(source)
    assert type(model) is LouderLISA
    assert model.loudness == 2.0
    assert type(MODELS.build(compiled.model.to_dict())) is LouderLISA
    assert type(build_on_shapes(source.to_dict()['model'])) is LouderLISA
    with pytest.raises(ConfigError, match=r"takes no argument 'loudnes'\. Did you mean 'loudness'"):
        compile_config(load_config(nano, (), ('model.type=LouderLISA', 'model.loudnes=2.0')))
    for wrong in ('Stranger', 'LIAS', 'nn.Linear'):
        with pytest.raises(ConfigError, match=rf"model.type is '{wrong}'; it must be 'LISA' or a subclass"):
            compile_config(load_config(nano, (), (f'model.type={wrong}',)))


def test_losses_are_one_edit_of_a_config():
    source = load_config(
        lisa_mm.get_config('lisa/lisa_nano'), (), ("model.losses.quiet={'type':'QuietStates'}", 'model.losses.dice=None')
    )
    assert set(compile_config(source).model.losses) == {'ce', 'bce', 'dice', 'quiet'}
