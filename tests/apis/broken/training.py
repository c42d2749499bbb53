"""Damage to data, strategy, optimizer, schedule and hooks of a config."""

from __future__ import annotations

import random

from .damage import MIX, NANO, Damage, kind, misspelt, option


@kind
def learning_rate_as_text(rng):
    value = rng.choice(['1e-3', '3e-4', '0.1'])
    return option('learning_rate_as_text', 'optim_wrapper.optimizer.lr', repr(value), 'without quotes', shown=value)


@kind
def negative_learning_rate(rng):
    return option('negative_learning_rate', 'optim_wrapper.optimizer.lr', -rng.choice([1e-3, 1.0]), 'Invalid learning rate')


@kind
def batch_size(rng):
    value = rng.choice([0, -1, '"2"', 2.5])
    loader = rng.choice(['train_dataloader', 'val_dataloader'])
    return option('batch_size', f'{loader}.batch_size', value, 'whole number >= 1', shown=str(value).strip('"'))


@kind
def workers(rng):
    return option('workers', 'train_dataloader.num_workers', rng.choice([-1, '"1"']), 'whole number >= 0', shown='')


@kind
def persistent_workers_without_workers(rng):
    loader = rng.choice(['train_dataloader', 'val_dataloader'])
    options = [f'{loader}.num_workers=0', f'{loader}.persistent_workers=True']
    return Damage('persistent_workers_without_workers', 'persistent_workers', 'True', 'num_workers >= 1', options)


@kind
def misspelt_loader_key(rng):
    key = rng.choice(['pin_memory', 'drop_last', 'prefetch_factor'])
    wrong = misspelt(key, rng)
    text = NANO.read_text() + f'\ntrain_dataloader.update({wrong}=True)\n'
    return Damage('misspelt_loader_key', wrong, wrong, f'Did you mean {key!r}', text=text)


@kind
def iterations(rng):
    return option('iterations', 'train_cfg.max_iters', rng.choice([-1, '"10"', 1.5]), 'whole number|int|without quotes', shown='')


@kind
def validation_interval(rng):
    return option('validation_interval', 'train_cfg.val_interval', -rng.randint(1, 500), 'whole number >= 0')


def zero(name: str, key: str, value: object, remedy: str, **more: object) -> Damage:
    written = {'type': 'LisaDeepSpeedStrategy', **more, key: value}
    return Damage(name, key, str(value), remedy, [f'strategy={written!r}'])


@kind
def zero_stage(rng):
    return zero('zero_stage', 'zero_stage', rng.choice([4, 5, -1]), '0, 1, 2 or 3')


@kind
def two_precisions(rng):
    return zero('two_precisions', 'bf16', True, 'choose one', fp16=True)


@kind
def offload_without_its_stage(rng):
    offload, stage = rng.choice([('all', 2), ('all', 1), ('optimizer', 0)])
    return zero('offload_without_its_stage', 'offload', offload, 'needs 1-3', zero_stage=stage)


@kind
def unknown_zero_option(rng):
    wrong = misspelt('reduce_bucket_size', rng)
    strategy = {'type': 'LisaDeepSpeedStrategy', 'zero_options': {wrong: 5}}
    return Damage('unknown_zero_option', 'zero_options', wrong, "Did you mean 'reduce_bucket_size'", [f'strategy={strategy!r}'])


@kind
def unreachable_target_batch(rng):
    return option('unreachable_target_batch', 'strategy.target_batch', rng.choice([3, 5, 7]), 'Set target_batch to one of')


@kind
def accumulation_and_target(rng):
    value = rng.choice([2, 4])
    options = [f'strategy.accumulation={value}', 'strategy.target_batch=8']
    return Damage('accumulation_and_target', f'accumulation={value}', 'target_batch=8', 'give one of them', options)


@kind
def accumulation(rng):
    return option('accumulation', 'strategy.accumulation', rng.choice([0, -2]), 'at least 1')


@kind
def unknown_strategy(rng):
    wrong = misspelt('LisaDeepSpeedStrategy', rng)
    strategy = {'type': wrong}
    return Damage('unknown_strategy', 'strategy', wrong, "Did you mean 'LisaDeepSpeedStrategy'", [f'strategy={strategy!r}'])


@kind
def wrapper_of_another_strategy(rng):
    return option('wrapper_of_another_strategy', 'optim_wrapper.type', 'DeepSpeedOptimWrapper', 'Leave it out')


@kind
def clipping_in_the_wrapper(rng):
    key, ours = rng.choice([('clip_grad', 'gradient_clipping'), ('accumulative_counts', 'accumulation')])
    text = NANO.read_text() + f'\noptim_wrapper.update({key}=4)\n'
    return Damage('clipping_in_the_wrapper', key, '4', f'give strategy.{ours}', text=text)


@kind
def unknown_optimizer(rng):
    return option('unknown_optimizer', 'optim_wrapper.optimizer.type', rng.choice(['AdmaW', 'AdamWW']), "Did you mean 'AdamW'")


@kind
def unknown_optimizer_argument(rng):
    wrong = misspelt('weight_decay', rng)
    text = NANO.read_text() + f"\noptim_wrapper['optimizer'].update({wrong}=0.1)\n"
    return Damage('unknown_optimizer_argument', wrong, wrong, "Did you mean 'weight_decay'", text=text)


@kind
def rate_of_no_part(rng):
    part = rng.choice(['mask_decoder', 'seg_head'])
    wrong = misspelt(part, rng)
    value = {'custom_keys': {wrong: {'lr_mult': 0.1}}}
    return Damage('rate_of_no_part', 'custom_keys', wrong, f'Did you mean {part!r}', [f'optim_wrapper.paramwise_cfg={value!r}'])


@kind
def rate_that_is_none(rng):
    value = rng.choice([-1, '0.1'])
    rates = {'custom_keys': {'seg_head': {'lr_mult': value}}}
    return Damage('rate_that_is_none', 'lr_mult', str(value), 'number >= 0', [f'optim_wrapper.paramwise_cfg={rates!r}'])


def registered(name: str, path: str, type_: str, rng: random.Random) -> Damage:
    wrong = misspelt(type_, rng)
    return Damage(name, path.split('.')[0], wrong, f'Did you mean {type_!r}', [f'{path}.type={wrong}'])


@kind
def unknown_sampler(rng):
    return registered('unknown_sampler', 'train_dataloader.sampler', 'SeekableSampler', rng)


@kind
def sampler_that_cannot_seek(rng):
    return Damage(
        'sampler_that_cannot_seek',
        'sampler',
        'DefaultSampler',
        'SeekableSampler',
        ['train_dataloader.sampler.type=DefaultSampler'],
    )


@kind
def unknown_dataset(rng):
    return registered('unknown_dataset', 'val_dataloader.dataset', 'JsonlSegDataset', rng)


@kind
def unknown_transform(rng):
    number, name = rng.choice([(0, 'LoadImage'), (1, 'DecodeMasks'), (4, 'EncodeConversations')])
    return registered('unknown_transform', f'train_dataloader.dataset.pipeline.{number}', name, rng)


@kind
def unknown_metric(rng):
    return registered('unknown_metric', 'val_evaluator', 'SegIoUMetric', rng)


@kind
def unknown_hook(rng):
    number, name = rng.choice([(0, 'FirstSampleHook'), (1, 'ParametersHook'), (2, 'CurvesHook')])
    return registered('unknown_hook', f'custom_hooks.{number}', name, rng)


@kind
def hook_with_a_bad_value(rng):
    return option('hook_with_a_bad_value', 'custom_hooks.2.interval', rng.choice([0, -5]), 'at least 1')


@kind
def unknown_schedule(rng):
    return registered('unknown_schedule', 'param_scheduler', 'WarmupDecayLR', rng)


@kind
def negative_warm_up(rng):
    return option('negative_warm_up', 'param_scheduler.warmup_iters', -rng.randint(1, 100), '>= 0')


@kind
def steps_in_an_impossible_order(rng):
    first, second, needed = rng.choice([(0, 4, 'gt_masks'), (0, 1, 'original_size'), (0, 2, 'img')])
    text = NANO.read_text() + f'\npipeline[{first}], pipeline[{second}] = pipeline[{second}], pipeline[{first}]\n'
    return Damage('steps_in_an_impossible_order', 'pipeline[0]', needed, 'before it', text=text)


@kind
def pipeline_without_its_end(rng):
    text = NANO.read_text() + '\npipeline.pop()\n'
    return Damage('pipeline_without_its_end', 'pipeline', 'EncodeConversations', 'end it with PackSegInputs', text=text)


@kind
def no_data_root(rng):
    text = NANO.read_text().replace("data_root = 'data/demo/pretrain'", '')
    return Damage('no_data_root', 'data_root', 'missing', 'give data_root=DIR', text=text)


@kind
def negative_mixture_rate(rng):
    group = rng.choice(['sem_seg', 'refer_seg', 'vqa', 'reason_seg'])
    return option('negative_mixture_rate', f'train_dataloader.dataset.rates.{group}', -rng.randint(1, 9), '>= 0', config=MIX)


@kind
def unknown_mixture_group(rng):
    wrong = misspelt('refer_seg', rng)
    text = MIX.read_text() + f"\ntrain_dataloader['dataset']['rates'].update({wrong}=3)\n"
    return Damage('unknown_mixture_group', 'rates', wrong, "Did you mean 'refer_seg'", config=MIX, text=text)


@kind
def unknown_name_of_a_dataset(rng):
    wrong = misspelt('refcoco', rng)
    key = 'train_dataloader.dataset.datasets.refer_seg.1.name'
    return option('unknown_name_of_a_dataset', key, wrong, "Did you mean 'refcoco'", config=MIX)
