"""The config of an imported checkpoint: evaluates it as it is, and continues its training with the published recipe."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from .. import get_config

HERE = 'here://'  # the config's own folder, see lisa_mm.config.load_config
HERE_TOKENIZER = 'here://tokenizer'


def fine_tuning_config(parts: dict[str, dict[str, Any]], *, data_root: str) -> dict[str, Any]:
    """A source config with the parts of a checkpoint.

    Args:
        parts: ``language_model``, ``vision_tower``, ``projector``, ``seg_head``, ``mask_decoder``; as far as they exist.
        data_root: Root folder, like the original's ``--dataset_dir``.
    """
    mllm = {key: parts[key] for key in ('vision_tower', 'projector', 'language_model') if key in parts}
    model: dict[str, Any] = {'type': 'LISA'}
    if mllm:
        model['mllm'] = {'type': 'LlavaMLLM', **mllm}
    model['seg_head'] = parts.get('seg_head', {'type': 'SegTokenHead'})
    if 'mask_decoder' in parts:
        model['mask_decoder'] = parts['mask_decoder']
    # LISA (CVPR 2024): r 8, alpha 16, q and v of the language model
    model['lora'] = dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=['q_proj', 'v_proj'])
    model['losses'] = _base('losses/default')['losses']
    runtime = _base('runtime/default')
    return {
        'data_root': data_root,
        'load_from': HERE,
        'model': model,
        **_base('datasets/reason_seg'),
        **runtime,
        'train_cfg': dict(type='IterTrainLoop', max_iters=5000, val_interval=500),
        'strategy': dict(type='LisaDeepSpeedStrategy', zero_stage=2, gradient_clipping=1.0, accumulation=10),
        'optim_wrapper': dict(optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.95), weight_decay=0.0)),
        'param_scheduler': dict(type='WarmupDecayLR', warmup_iters=100),
    }


def _base(name: str) -> dict[str, Any]:
    content = Config.fromfile(get_config(f'_base_/{name}')).to_dict()
    return {key: value for key, value in content.items() if key != 'pipeline'}
