"""Damage to the model of a config."""

from __future__ import annotations

from .damage import MIX, Damage, kind, lora, misspelt, option


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
    without = rng.choice([{}, {'ce': None}])
    return option('missing_losses', 'model.losses', without, 'Give at least one', shown='')


@kind
def unknown_loss(rng):
    key = rng.choice(['ce', 'bce', 'dice'])
    return Damage('unknown_loss', 'loss', 'FocalLoss', 'Known:', [f'model.losses.{key}.type=FocalLoss'])


@kind
def negative_loss_weight(rng):
    return option('negative_loss_weight', f'model.losses.{rng.choice(["ce", "bce", "dice"])}.weight', -rng.randint(1, 9), '>= 0')


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
