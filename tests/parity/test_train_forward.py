"""Forward and backward of training against the original's numbers."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from .golden import batch_of, build_model, close, our_name


@pytest.fixture(scope='module', params=[False, True], ids=['rows', 'shared_prefix'])
def outputs(golden, lora_model, request):
    """All intermediate values of each batch, computed once; the original's rows, and ours with ``share_prefix``."""
    cache = {}
    lora_model.mllm.language_model.share_prefix = request.param

    def run(name):
        if name not in cache:
            arrays = golden.arrays(name)
            lora_model.train()
            n = lora_model.mllm.num_image_tokens(0, 0)
            inputs, samples = batch_of(arrays, n)
            lora_model.zero_grad()
            losses = lora_model(inputs, samples, mode='loss')
            sum(losses.values()).backward()
            grads = {k: p.grad.clone() for k, p in lora_model.named_parameters() if p.grad is not None}
            with torch.no_grad():
                tensors = lora_model(inputs, samples, mode='tensor')
            cache[name] = (arrays, inputs, samples, losses, grads, tensors)
        return cache[name]

    yield run
    lora_model.mllm.language_model.share_prefix = False


def assert_near(actual, wanted, atol, report, group):
    actual = torch.as_tensor(actual).detach().double().numpy()
    wanted = np.asarray(wanted, dtype=np.float64)
    assert actual.shape == wanted.shape
    deviation = float(np.abs(actual - wanted).max()) if wanted.size else 0.0
    report(group, deviation)
    assert deviation <= atol, f'{group}: largest deviation {deviation:.3g}'


def test_image_tokens_and_embeddings(outputs, lora_model, batch_name, record_deviation):
    arrays, inputs, *_ = outputs(batch_name)
    with torch.no_grad():
        embeddings = lora_model.mask_decoder.encode_image(inputs['mask_images']).features
        features = lora_model.mllm.vision_tower(inputs['pixel_values'])
        tokens = lora_model.mllm.projector(features)
    assert_near(embeddings, arrays['out_image_embeddings'], 1e-4, record_deviation, 'image embeddings')
    assert_near(features, arrays['out_clip_features_first_conv'], 1e-4, record_deviation, 'CLIP features')
    assert_near(tokens, arrays['out_image_tokens_first_conv'], 1e-4, record_deviation, 'image tokens')


def test_seg_positions_states_and_prompts(outputs, lora_model, batch_name, record_deviation):
    arrays, inputs, _, _, _, tensors = outputs(batch_name)
    found = lora_model.seg_head.positions(inputs['input_ids'], lora_model.seg_token_id)
    assert found.tolist() == arrays['out_seg_positions'].tolist()
    states = tensors['hidden_states'][found[:, 0], found[:, 1]]
    assert_near(states, arrays['out_seg_hidden'], 1e-4, record_deviation, '[SEG] states')
    prompts = torch.cat(tensors['prompts'])
    assert_near(prompts, arrays['out_seg_embeddings'], 1e-4, record_deviation, 'prompt embeddings')
    sums = (tensors['hidden_states'].double() * inputs['attention_mask'][..., None]).sum(1)
    assert_near(sums, arrays['out_last_hidden_row_sums'], 1e-2, record_deviation, 'row sums of hidden states')


def test_mask_logits(outputs, batch_name, record_deviation):
    arrays, _, samples, _, _, tensors = outputs(batch_name)
    for i, _ in enumerate(samples):
        wanted = arrays[f'out_low_res_logits_{i}'][:, 0]
        if len(wanted):
            assert_near(tensors['low_res_logits'][i], wanted, 1e-3, record_deviation, 'low-resolution logits')
        assert_near(tensors['mask_logits'][i], arrays[f'out_pred_masks_{i}'], 1e-3, record_deviation, 'mask logits')


def test_losses(golden, outputs, batch_name, record_deviation):
    _, _, _, losses, _, _ = outputs(batch_name)
    wanted = golden.cases[batch_name]['losses']
    actual = {
        'loss': sum(losses.values()),
        'ce_loss': losses['loss_ce'],
        'mask_bce_loss': losses['loss_mask_bce'],
        'mask_dice_loss': losses['loss_mask_dice'],
        'mask_loss': losses['loss_mask_bce'] + losses['loss_mask_dice'],
    }
    for key, value in wanted.items():
        record_deviation('losses (relative)', abs(float(actual[key].detach()) - value) / (abs(value) + 1e-12))
        assert close(float(actual[key].detach()), value, 1e-4), key


def test_losses_with_other_weights(golden, lora_model, outputs, batch_name):
    """Named losses_with_weights_ce<w>_dice<w>_bce<w>; a folder without one has nothing to compare."""
    _, _, _, losses, _, _ = outputs(batch_name)
    parts = {'ce': losses['loss_ce'] / 1.0, 'bce': losses['loss_mask_bce'] / 2.0, 'dice': losses['loss_mask_dice'] / 0.5}
    for key, wanted in golden.cases[batch_name].items():
        if key.startswith('losses_with_weights_'):
            weights = {w.rstrip('0123456789.'): float(w.lstrip('abcdefghijklmnopqrstuvwxyz')) for w in key.split('_')[3:]}
            total = sum(weights[name] * float(parts[name]) for name in weights)
            assert close(total, wanted['loss'], 1e-4)


def test_gradients(golden, outputs, lora_model, batch_name, record_deviation):
    _, _, _, _, grads, _ = outputs(batch_name)
    own = set(lora_model.state_dict())
    wanted = golden.cases[batch_name]['grad_norms']
    scale = golden.cases[batch_name]['grad_norm_groups']['all']
    for name, norm in wanted.items():
        grad = grads.get(our_name(name, own))
        if not norm:  # null: no gradient; 0.0: a part that one mask a prompt never uses
            assert grad is None or float(grad.norm()) == 0, name
            continue
        assert grad is not None, name
        actual = float(grad.double().norm())
        # a key projection's bias has no influence on a softmax: its gradient is rounding, 1e-9 of the whole
        if norm > 1e-7 * scale:
            record_deviation('gradient norms (relative)', abs(actual - norm) / norm)
            assert close(actual, norm, 1e-4), name
        else:
            assert actual <= 1e-6 * scale, name
    trained = {our_name(name, own) for name, norm in wanted.items() if norm}
    assert set(grads) == trained, 'other parameters have gradients than in the original'


def test_saved_gradients(golden, outputs, lora_model, batch_name, record_deviation):
    _, _, _, _, grads, _ = outputs(batch_name)
    own = set(lora_model.state_dict())
    for key, wanted in np.load(golden.root / 'train_forward' / f'{batch_name}_grads.npz').items():
        grad = grads[our_name(key.removeprefix('grad:'), own)]
        size = float(np.abs(wanted).max())
        assert_near(grad, wanted, max(1e-4 * size, 1e-8), record_deviation, 'saved gradients')


def test_gradient_norm_groups(golden, outputs, lora_model, batch_name):
    _, _, _, _, grads, _ = outputs(batch_name)
    own = set(lora_model.state_dict())
    names = golden.cases[batch_name]['grad_norms']
    for group, wanted in golden.cases[batch_name]['grad_norm_groups'].items():
        members = [
            our_name(name, own)
            for name in names
            if group == 'all' or (group in name and not ('lora' in group and 'mask_decoder' in name))
        ]
        norm = sum(float(grads[m].double().square().sum()) for m in members if m in grads) ** 0.5
        assert close(norm, wanted, 1e-4), group


def test_inference_masks(outputs, lora_model, batch_name, record_deviation):
    """One image a call, eval mode, as in validation."""
    arrays, inputs, samples, *_ = outputs(batch_name)
    lora_model.eval()
    for i, sample in enumerate(samples):
        rows = inputs['image_index'] == i
        one = {k: v[rows] for k, v in inputs.items() if k in ('input_ids', 'labels', 'attention_mask')}
        one |= {k: inputs[k][i : i + 1] for k in ('pixel_values', 'mask_images')}
        one['image_index'] = torch.zeros(int(rows.sum()), dtype=torch.long)
        logits = lora_model(one, [copy.copy(sample)], mode='predict')[0].mask_logits
        wanted = arrays[f'out_inference_pred_masks_{i}']
        assert_near(logits, wanted, 1e-3, record_deviation, 'inference mask logits')
        certain = np.abs(wanted) > 1e-3
        assert ((logits.numpy() > 0) == (wanted > 0))[certain].all()


def test_merged_checkpoint_gives_the_same_losses(golden, batch_name):
    model = build_model(golden, merged=True).eval()
    inputs, samples = batch_of(golden.arrays(batch_name), model.mllm.num_image_tokens(0, 0))
    with torch.no_grad():
        losses = model(inputs, samples, mode='loss')
    wanted = golden.cases[batch_name]['losses_merged_checkpoint']
    assert close(float(sum(losses.values())), wanted['loss'], 1e-4)
    assert close(float(losses['loss_ce']), wanted['ce_loss'], 1e-4)


def test_trajectory(golden, record_deviation):
    """Optimizer steps over the batches in turn: losses before each step, norms before clipping, final parameter norms."""
    trajectory = golden.cases['trajectory']
    text = trajectory['optimizer']
    assert 'AdamW' in text and 'clip 1.0' in text
    rate = float(text.split('lr ')[1].split()[0])
    model = build_model(golden).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0)
    n = model.mllm.num_image_tokens(0, 0)
    for step in trajectory['steps']:
        losses = model(*batch_of(golden.arrays(step['batch']), n), mode='loss')
        record_deviation('trajectory losses (relative)', abs(float(sum(losses.values()).detach()) - step['loss']) / step['loss'])
        assert close(float(sum(losses.values()).detach()), step['loss'], 1e-4), step['step']
        optimizer.zero_grad()
        sum(losses.values()).backward()
        norm = float(nn.utils.clip_grad_norm_(trained, 1.0))
        assert close(norm, step['grad_norm_before_clip'], 1e-4), step['step']
        optimizer.step()
    own = set(model.state_dict())
    parameters = dict(model.named_parameters())
    tables = [v for v in golden.cases.values() if isinstance(v, dict) and 'grad_norms' in v]
    for name, wanted in trajectory['final_param_norms'].items():
        parameter = parameters[our_name(name, own)].detach()
        # A gradient that is rounding everywhere (key biases) is blown up to full steps by Adam: only their length is known
        largest = max((t['grad_norms'].get(name) or 0.0) / t['grad_norm_groups']['all'] for t in tables)
        noise = rate * len(trajectory['steps']) * parameter.numel() ** 0.5 if largest <= 1e-7 else 0.0
        assert abs(float(parameter.double().norm()) - wanted) <= 1e-4 * wanted + noise, name


def test_every_subset_of_the_batch_runs(golden, lora_model):
    """Zero masks in a row, an image and the whole batch: finite, and every trainable parameter is touched."""
    name = next(k for k, v in golden.cases.items() if isinstance(v, dict) and 0 in v.get('num_masks', []))
    arrays = golden.arrays(name)
    inputs, samples = batch_of(arrays, lora_model.mllm.num_image_tokens(0, 0))
    image = golden.cases[name]['num_masks'].index(0)
    rows = inputs['image_index'] == image
    one = {k: v[rows] for k, v in inputs.items() if k in ('input_ids', 'labels', 'attention_mask')}
    one |= {k: inputs[k][image : image + 1] for k in ('pixel_values', 'mask_images')}
    one['image_index'] = torch.zeros(int(rows.sum()), dtype=torch.long)
    for labels in (one['labels'], torch.full_like(one['labels'], -100)):
        lora_model.train().zero_grad()
        losses = lora_model({**one, 'labels': labels}, [samples[image]], mode='loss')
        sum(losses.values()).backward()
        assert losses['loss_mask_bce'] == 0 and losses['loss_mask_dice'] == 0
        missing = [k for k, p in lora_model.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing
        assert all(torch.isfinite(p.grad).all() for p in itertools.filterfalse(lambda p: p.grad is None, lora_model.parameters()))


@pytest.fixture(scope='module')
def bfloat16_model(golden):
    """As DeepSpeed casts it."""
    return build_model(golden).bfloat16()


def test_bfloat16_trains_every_trained_parameter(golden, bfloat16_model, batch_name):
    """Other than the original: losses in float32, near the float32 model's; bfloat16 has 8 bits, so 2 % of the loss."""
    model = bfloat16_model.train()
    model.zero_grad()
    losses = model(*batch_of(golden.arrays(batch_name), model.mllm.num_image_tokens(0, 0)), mode='loss')
    assert all(value.dtype == torch.float32 for value in losses.values())
    wanted = golden.cases[batch_name]['losses']['loss']
    assert close(float(sum(losses.values()).detach()), wanted, 2e-2)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients.values())


def test_positions_and_normalisation_keep_their_digits_in_bfloat16(golden, bfloat16_model):
    """Other than the original: what a cast of the whole model must not round."""
    exact = build_model(golden)
    positions = (model.mask_decoder.prompt_encoder.get_dense_pe() for model in (exact, bfloat16_model))
    assert torch.equal(*positions)
    for name, value in exact.data_preprocessor.named_buffers():
        assert torch.equal(value, dict(bfloat16_model.data_preprocessor.named_buffers())[name]), name
    assert bfloat16_model.mllm.language_model.output_embeddings().weight.dtype == torch.bfloat16
