"""Build models with random weights at a config's true widths, and train them for some steps on one device.

No weights, data or network: files that a config reads are left out, parts are drawn at random on the device, and the small
tokenizer shipped with the package replaces the published one.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.memory.measure import OneItem
from lisa_mm.config import load_config, with_weights
from lisa_mm.config.edits import apply_option
from lisa_mm.engine import LisaRunner
from lisa_mm.models import LISA
from lisa_mm.models.language_models.causal_lm import build_config
from lisa_mm.models.phases import shapes_only
from lisa_mm.planning.batch import BatchShape, sample_item
from lisa_mm.planning.plans import plan_of
from lisa_mm.planning.report import build_on_shapes
from lisa_mm.planning.step import step_memory
from lisa_mm.planning.trace import Trace, trace_step

TOKENIZER = 'weights://nano/tokenizer'
CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / 'lisa'


# Every part at toy size, for --small
TOY: dict[str, Any] = dict(
    model=dict(
        type='LISA',
        mllm=dict(
            type='LlavaMLLM',
            vision_tower=dict(
                type='CLIPVisionTower',
                config=dict(
                    image_size=28, patch_size=14, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
                ),
            ),
            projector=dict(type='LinearProjector'),
            language_model=dict(
                type='CausalLM',
                tokenizer=TOKENIZER,
                template='plain',
                gradient_checkpointing=True,
                config=dict(
                    model_type='llama',
                    vocab_size=1203,
                    hidden_size=64,
                    intermediate_size=128,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                ),
            ),
        ),
        lora=dict(r=4, lora_alpha=8, lora_dropout=0.05, target_modules=['q_proj', 'v_proj']),
        seg_head=dict(type='SegTokenHead'),
        mask_decoder=dict(
            type='SAMMaskDecoder',
            num_heads=2,
            mlp_dim=32,
            iou_hidden_dim=16,
            image_encoder=dict(
                type='SAMImageEncoder',
                image_size=64,
                patch_size=16,
                embed_dim=32,
                depth=2,
                num_heads=2,
                window_size=2,
                global_attn_indexes=(1,),
                out_channels=32,
            ),
        ),
        losses=dict(ce=dict(type='CrossEntropyLoss'), bce=dict(type='MaskBCELoss'), dice=dict(type='MaskDiceLoss')),
    ),
    strategy=dict(type='LisaDeepSpeedStrategy', zero_stage=2, zero_options=dict(reduce_bucket_size=1_000_000)),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
)
TOY_SHAPE = BatchShape(images=1, rows=2, tokens=32, size=(48, 64))


def source_of(config: str | dict[str, Any], swaps: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> dict[str, Any]:
    """A config of configs/lisa as a dict, or a copy of a dict, edited."""
    if isinstance(config, str):
        return load_config(CONFIGS / f'{config}.py', swaps, options).to_dict()
    source = copy.deepcopy(config)
    for option in options:
        apply_option(source, option)
    return source


def without_files(node: Any) -> Any:
    """The parts with random weights at their declared widths."""
    if not isinstance(node, dict):
        return node
    found = {key: without_files(value) for key, value in node.items()}
    if str(found.pop('pretrained', '') or '').startswith('weights://'):
        raise ValueError('a part that reads shipped weights has no widths of its own: give its config')
    if found.get('type') == 'CausalLM':
        found |= {'tokenizer': TOKENIZER, 'template': 'plain'}
    elif found.get('type') == 'HFMLLM':
        found |= {'processor': TOKENIZER, 'template': 'plain'}
    return found


def parts_of(source: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The model's config with random weights, and the model of the source's own config on the meta device.

    The vocabulary is that of the published tokenizer with the new tokens.
    """
    shapes = build_on_shapes(source['model'])
    parts = without_files(source['model'])
    mllm = parts['mllm']
    mllm.get('language_model', mllm)['vocab_size'] = shapes.mllm.vocab_size
    return parts, shapes


def build(parts: dict[str, Any], device: str, dtype: torch.dtype = torch.float32) -> LISA:
    """Build a model with random weights, drawn on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        model = LISA(**{key: value for key, value in with_weights(copy.deepcopy(parts)).items() if key != 'type'})
    return model.to(dtype).to(device)  # pyright: ignore[reportReturnType] - mmengine's to() returns itself


def traced(shapes: Any, shape: BatchShape, strategy: dict[str, Any] | None, device: str) -> tuple[Trace, int]:
    """The calculated step: a micro-batch's allocations, and the peak in bytes as ``check_config`` reports it."""
    plan = plan_of(strategy, processes=1, micro_batch=shape.images, device=device)
    trace = trace_step(shapes, shape, half=plan.half, device=device)
    return trace, step_memory(trace, plan).peak


def train_steps(
    source: dict[str, Any], model: LISA, shape: BatchShape, steps: int, around: Callable[[Callable[[], None], int], None]
) -> None:
    """Train a model repeatedly on the same batch, as ``tools/train.py`` does.

    Args:
        source: Config with strategy and optimizer; its parts are already built.
        model: The model to train.
        shape: Shape of the batch.
        steps: Number of optimizer steps.
        around: Called for each step with a function that runs it and the step's number from 0.
    """

    class Observed(LisaRunner):
        def build_train_loop(self, loop: Any) -> Any:
            built = super().build_train_loop(loop)
            plain, count = built.run_iter, iter(range(steps))  # pyright: ignore[reportAttributeAccessIssue] - an IterTrainLoop
            built.run_iter = lambda *args: around(lambda: plain(*args), next(count))  # pyright: ignore[reportAttributeAccessIssue] - an IterTrainLoop
            return built

    written = {key: source[key] for key in ('strategy', 'optim_wrapper', 'env_cfg') if source.get(key)}
    loader = dict(
        dataset=OneItem(sample_item(model, shape)),
        batch_size=shape.images,
        num_workers=0,
        sampler=dict(type='SeekableSampler'),
        collate_fn=dict(type='seg_collate'),
    )
    with tempfile.TemporaryDirectory() as folder:
        runner = Observed(
            model,
            **written,
            train_cfg=dict(type='IterTrainLoop', max_iters=steps),
            train_dataloader=loader,
            work_dir=folder,
            default_hooks=dict(checkpoint=None),
            experiment_name=f'gpu_{os.getpid()}',
        )
        runner.train()


def write_zeros(config: dict[str, Any], folder: Path) -> None:
    """Write a Hugging Face folder of a causal language model with zero weights in bfloat16, as a sparse file that takes no disk.

    Args:
        config: Config of the architecture, with its ``vocab_size``.
        folder: Receives ``config.json`` and ``model.safetensors``.
    """
    written = build_config(config)
    with shapes_only():
        weights = AutoModelForCausalLM.from_config(written, dtype=torch.bfloat16).state_dict()
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    end = 0
    for name, tensor in weights.items():
        header[name] = {'dtype': 'BF16', 'shape': list(tensor.shape), 'data_offsets': [end, end + 2 * tensor.numel()]}
        end += 2 * tensor.numel()
    written.save_pretrained(folder)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with (folder / 'model.safetensors').open('wb') as file:
        file.write(len(text).to_bytes(8, 'little') + text)
        file.truncate(8 + len(text) + end)
