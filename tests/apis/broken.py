"""Damage that users do to a config: kinds of it, each with a seeded choice of place and value.

A kind gives the command line's options, or a changed text of the config, and what its error must hold: the key, the value
that was given, and a remedy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lisa_mm

NANO = Path(lisa_mm.get_config('lisa/lisa_nano_pretrain'))  # builds without any weights
MIX = Path(lisa_mm.get_config('lisa/lisa_7b_mix'))


@dataclass
class Damage:
    """One broken config.

    Args:
        kind: Its name.
        key, value, remedy: Texts that the error must hold.
        options: Of the command line.
        config: The config; with ``text`` a file with this content takes its place.
        text: The whole file.
    """

    kind: str
    key: str
    value: str
    remedy: str
    options: list[str] = field(default_factory=list)
    config: Path = NANO
    text: str | None = None


KINDS: dict[str, Callable[[random.Random], Damage]] = {}


def kind(function: Callable[[random.Random], Damage]) -> Callable[[random.Random], Damage]:
    KINDS[function.__name__] = function
    return function


def misspelt(word: str, rng: random.Random) -> str:
    """Two neighbours exchanged; never the word itself."""
    places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    i = rng.choice(places)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def damages(seed: int) -> list[Damage]:
    """One of each kind."""
    return [make(random.Random(f'{seed}-{name}')) for name, make in KINDS.items()]


def option(name: str, key: str, value: object, remedy: str, **more: object) -> Damage:
    """Damage by one option; the last name of the key and the value must be in the error."""
    shown = more.pop('shown', None)
    options = [f'{key}={value}', *more.pop('also', [])]  # type: ignore[misc]
    return Damage(name, key.rsplit('.', 1)[-1], str(value if shown is None else shown), remedy, options, **more)  # type: ignore[arg-type]


def lora(name: str, key: str, value: object, remedy: str) -> Damage:
    """Damage inside model.lora."""
    written = {'r': 4, 'lora_alpha': 8, 'target_modules': ['q_proj'], key: value}
    shown = value[0] if isinstance(value, list) else value
    return Damage(name, key, str(shown), remedy, ['model.tuning=None', f'model.lora={written!r}'])


@kind
def misspelt_top_level_key(rng):
    key = rng.choice(['train_dataloader', 'strategy', 'optim_wrapper', 'param_scheduler', 'custom_hooks'])
    wrong = misspelt(key, rng)
    return Damage(
        'misspelt_top_level_key', wrong, wrong, f'Did you mean {key!r}', text=edit(NANO, f'\n{key} =', f'\n{wrong} =', key)
    )


def edit(path: Path, old: str, new: str, key: str) -> str:
    """The file's text with one place changed; a key that another file gives is added instead."""
    text = path.read_text()
    return text.replace(old, new, 1) if old in text else f'{text}\n{new} dict()\n'


@kind
def misspelt_part_key(rng):
    path, key = rng.choice(
        [
            ('model.mllm.vision_tower', 'full_view'),
            ('model.mask_decoder.image_encoder', 'window_size'),
            ('model.seg_head', 'init_gain'),
            ('train_dataloader.dataset', 'phrases_per_image'),
            ('train_cfg', 'val_interval'),
        ]
    )
    wrong = misspelt(key, rng)
    return option('misspelt_part_key', f'{path}.{wrong}', 3, f'Did you mean {key!r}', shown=wrong)


@kind
def misspelt_architecture_key(rng):
    key = rng.choice(['hidden_size', 'num_hidden_layers', 'num_attention_heads'])
    wrong = misspelt(key, rng)
    text = (
        MIX.read_text()
        + f"\nmask_decoder = dict(type='HFMaskDecoder', config=dict(model_type='sam', vision_config=dict({wrong}=64)))"
    )
    text += "\nmodel['mask_decoder'] = mask_decoder\n"
    return Damage('misspelt_architecture_key', wrong, wrong, f'Did you mean {key!r}', config=MIX, text=text)


@kind
def unknown_model_type(rng):
    wrong = misspelt('sam_hq', rng)
    value = {'type': 'HFMaskDecoder', 'config': {'model_type': wrong}}
    return Damage('unknown_model_type', 'model_type', wrong, 'Did you mean', [f'model.mask_decoder={value!r}'])


@kind
def unknown_type(rng):
    path, name = rng.choice(
        [
            ('model.mllm', 'LlavaMLLM'),
            ('model.mllm.vision_tower', 'CLIPVisionTower'),
            ('model.seg_head', 'SegTokenHead'),
            ('model.mask_decoder', 'SAMMaskDecoder'),
        ]
    )
    wrong = misspelt(name, rng)
    return Damage('unknown_type', wrong, wrong, f'Did you mean {name!r}', [f'{path}.type={wrong}'])


@kind
def wrong_role(rng):
    path, given, role = rng.choice(
        [
            ('model.mllm.projector', 'MaskDiceLoss', 'loss'),
            ('model.losses.dice', 'LinearProjector', 'projector'),
            ('model.seg_head', 'SAMImageEncoder', 'backbone'),
        ]
    )
    return Damage('wrong_role', given, role, 'give it there', [f'{path}.type={given}'])


@kind
def width_against_a_neighbour(rng):
    path, right = rng.choice(
        [('model.seg_head.prompt_dim', 64), ('model.mllm.projector.in_channels', 96), ('model.mllm.projector.out_channels', 128)]
    )
    return option('width_against_a_neighbour', path, right + rng.randint(1, 9) * 8, f'={right}')


@kind
def lora_target_that_matches_nothing(rng):
    target = rng.choice(['q_proj', 'v_proj', 'gate_proj'])
    return lora('lora_target_that_matches_nothing', 'target_modules', [misspelt(target, rng)], 'Did you mean')


@kind
def lora_rank(rng):
    return lora('lora_rank', 'r', rng.choice([0, -1, -8]), 'at least 1')


@kind
def lora_dropout(rng):
    return lora('lora_dropout', 'lora_dropout', rng.choice([1.5, -0.1, 5]), 'below 1')


@kind
def lora_unknown_argument(rng):
    wrong = misspelt('lora_alpha', rng)
    damage = lora('lora_unknown_argument', wrong, 8, "Did you mean 'lora_alpha'")
    damage.value = wrong
    return damage


@kind
def tuning_with_lora(rng):
    value = rng.choice(['full', 'frozen'])
    written = {'r': 4, 'target_modules': ['q_proj']}
    return Damage('tuning_with_lora', 'tuning', value, 'set one of them', [f'model.tuning={value}', f'model.lora={written!r}'])


@kind
def missing_losses(rng):
    kept = rng.choice(['ce', 'bce', 'dice'])
    types = {'ce': 'CrossEntropyLoss', 'bce': 'MaskBCELoss', 'dice': 'MaskDiceLoss'}
    return option('missing_losses', 'model.losses', {kept: {'type': types[kept]}}, 'ce, bce, dice', shown='')


@kind
def unknown_loss(rng):
    key = rng.choice(['ce', 'bce', 'dice'])
    return Damage('unknown_loss', 'loss', 'FocalLoss', 'Known:', [f'model.losses.{key}.type=FocalLoss'])


@kind
def negative_loss_weight(rng):
    return option('negative_loss_weight', f'model.losses.{rng.choice(["ce", "bce", "dice"])}.weight', -rng.randint(1, 9), '>= 0')


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


@kind
def image_size_and_patch(rng):
    return option(
        'image_size_and_patch', 'model.mask_decoder.image_encoder.image_size', rng.choice([190, 193, 100]), 'Give a multiple'
    )


@kind
def image_size_as_text(rng):
    return option('image_size_as_text', 'model.mask_decoder.image_encoder.image_size', '"192"', 'without quotes', shown='192')


@kind
def heads_that_do_not_divide(rng):
    key = rng.choice(['model.mask_decoder.image_encoder.num_heads', 'model.mask_decoder.num_heads'])
    return option('heads_that_do_not_divide', key, rng.choice([5, 7, 11]), 'Change one of them')


@kind
def language_heads_that_do_not_divide(rng):
    value = rng.choice([3, 5, 7])
    return option(
        'language_heads_that_do_not_divide',
        'model.mllm.language_model.config.num_attention_heads',
        value,
        'not a multiple',
        shown=f'({value})',
    )


@kind
def global_blocks_out_of_depth(rng):
    block = rng.choice([4, 9, -1])
    return option(
        'global_blocks_out_of_depth',
        'model.mask_decoder.image_encoder.global_attn_indexes',
        f'(1, {block})',
        'give 0 to 3',
        shown=block,
    )


@kind
def tower_layer(rng):
    return option('tower_layer', 'model.mllm.vision_tower.layer', rng.choice([-5, 4, 17]), ' to ')


@kind
def unknown_template(rng):
    wrong = misspelt('vicuna_v1', rng)
    return Damage('unknown_template', 'template', wrong, 'Did you mean', [f'model.mllm.language_model.template={wrong}'])


@kind
def missing_tokenizer(rng):
    return Damage(
        'missing_tokenizer', 'tokenizer', 'CausalLM', 'needs tokenizer=FOLDER', ['model.mllm.language_model.tokenizer=None']
    )


@kind
def seg_token_id(rng):
    return option('seg_token_id', 'model.seg_token_id', rng.choice([-1, 5, 99_999]), 'Leave it out')


@kind
def vocabulary_too_small(rng):
    value = rng.choice([10, 500, 1199])
    options = ['model.mllm.language_model.config.vocab_size=8', f'model.mllm.language_model.vocab_size={value}']
    return Damage('vocabulary_too_small', 'vocab_size', str(value), 'at least', options)


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


@kind
def text_that_is_no_python(rng):
    wrong = rng.choice(['model = dict(type=\n', 'model = {\n', 'x = = 3\n'])
    return Damage('text_that_is_no_python', 'line', 'SyntaxError', 'Correct it', text=wrong)


@kind
def a_name_that_is_not_there(rng):
    text = NANO.read_text() + '\nmodel.update(mask_decoder=mask_decodr)\n'
    return Damage('a_name_that_is_not_there', 'line', 'mask_decodr', 'Correct it', text=text)


@kind
def missing_base_file(rng):
    wrong = misspelt('pipeline', rng)
    text = NANO.read_text().replace('datasets.pipeline import', f'datasets.{wrong} import')
    return Damage('missing_base_file', wrong, 'not found', 'Correct it', text=text)


@kind
def unknown_import(rng):
    text = NANO.read_text() + "\ncustom_imports = dict(imports=['my_pakage'])\n"
    return Damage('unknown_import', 'custom_imports', 'my_pakage', 'Install the package', text=text)


@kind
def option_that_changes_nothing(rng):
    key = rng.choice(['lr', 'max_iters', 'batch_size'])
    return Damage('option_that_changes_nothing', key, key, 'no such key', [f'{key}=3'])


@kind
def option_through_no_key(rng):
    wrong = misspelt('mask_decoder', rng)
    return Damage('option_through_no_key', wrong, wrong, "Did you mean 'mask_decoder'", [f'model.{wrong}.depth=2'])
