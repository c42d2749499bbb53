"""Measure the memory of an import: a separate process imports a made-up LISA folder.

python -m benchmarks.import_memory [LISA CLIP OUT]     (prints the peak of its own process, with an import if folders are given)
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from segment_anything import sam_model_registry

from lisa_mm.checkpoints.importing import import_checkpoint
from lisa_mm.checkpoints.keys import SAM
from lisa_mm.checkpoints.safetensors_writer import parse_size, shard_names, split_shards
from lisa_mm.checkpoints.sources import TensorInfo
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.errors import UserError

from . import checkout_environment

HIDDEN, MLP, HEADS, VOCABULARY = 2048, 5504, 16, 400
CLIP_CONFIG: dict[str, Any] = dict(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14
)
Named = tuple[str, tuple[int, ...]]


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        sizes = measure_import(Path(folder), total_bytes=parse_size(args.size), shard_bytes=parse_size(args.shard))
    for name, value in sizes.items():
        print(f'{name.replace("_", " "):16s} {value / 1e6:9.1f} MB')
    import_alone = sizes['peak'] - sizes['imports']
    limit = 1.3 * sizes['largest_shard'] + sizes['largest_tensor']
    print(f'the import adds  {import_alone / 1e6:9.1f} MB to the program (wanted: below {limit / 1e6:.1f} MB)')


def measure_import(folder: Path, *, total_bytes: int, shard_bytes: int) -> dict[str, int]:
    """Peak resident memory of importing a made-up bfloat16 checkpoint, in bytes.

    Args:
        folder: An empty folder for the checkpoint and its import (twice ``total_bytes``).
        total_bytes: Approximate size of the checkpoint.
        shard_bytes: Maximum size of a ``.bin`` shard.

    Returns:
        ``checkpoint``, ``largest_shard``, ``largest_tensor``; ``imports``: peak of a process that only imports the program;
        ``peak``: of one that imports the checkpoint too. Mapped pages of the files count.

    Raises:
        UserError: if there is no /proc (not Linux), or the import fails.
    """
    if not Path('/proc/self/status').is_file():
        raise UserError('peak memory is read from /proc/self/status, which this system does not have. Run it on Linux.')
    source, clip = folder / 'lisa', folder / 'clip'
    largest_tensor = make_lisa(source, total_bytes, shard_bytes)
    make_clip(clip)
    sizes = [path.stat().st_size for path in source.glob('*.bin')]
    return {
        'checkpoint': sum(sizes),
        'largest_shard': max(sizes),
        'largest_tensor': largest_tensor,
        'imports': _peak_of([]),
        'peak': _peak_of([str(source), str(clip), str(folder / 'imported')]),
    }


def make_lisa(folder: Path, total_bytes: int, shard_bytes: int) -> int:
    """Write a folder in the published layout with enough Llama layers to fill the size; returns its largest tensor's bytes."""
    folder.mkdir(parents=True)
    rows = write_tokenizer(folder)
    rest = dict(_without_layers(rows))
    layer = dict(_layer(0))
    used = sum(torch.Size(shape).numel() for shape in rest.values()) * 2
    count = max(1, (total_bytes - used) // (sum(torch.Size(shape).numel() for shape in layer.values()) * 2))
    names = {name: shape for i in range(count) for name, shape in _layer(i)} | rest
    info = {name: TensorInfo(shape, torch.bfloat16) for name, shape in names.items()}
    shards = split_shards(info, shard_bytes)
    files = shard_names(len(shards), 'pytorch_model', '.bin')
    for file, part in zip(files, shards, strict=True):
        torch.save({name: torch.full(info[name].shape, 0.01, dtype=torch.bfloat16) for name in part}, folder / file)
    if len(files) > 1:
        weight_map = {name: file for file, part in zip(files, shards, strict=True) for name in part}
        (folder / 'pytorch_model.bin.index.json').write_text(json.dumps({'metadata': {}, 'weight_map': weight_map}))
    config = dict(
        model_type='llava',
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=count,
        num_attention_heads=HEADS,
        vocab_size=rows,
        mm_hidden_size=CLIP_CONFIG['hidden_size'],
    )
    (folder / 'config.json').write_text(json.dumps(config))
    return max(tensor.nbytes for tensor in info.values())


def _layer(i: int) -> Iterator[Named]:
    prefix = f'model.layers.{i}'
    for name in 'qkvo':
        yield f'{prefix}.self_attn.{name}_proj.weight', (HIDDEN, HIDDEN)
    yield f'{prefix}.mlp.gate_proj.weight', (MLP, HIDDEN)
    yield f'{prefix}.mlp.up_proj.weight', (MLP, HIDDEN)
    yield f'{prefix}.mlp.down_proj.weight', (HIDDEN, MLP)
    yield f'{prefix}.input_layernorm.weight', (HIDDEN,)
    yield f'{prefix}.post_attention_layernorm.weight', (HIDDEN,)


def _without_layers(rows: int) -> Iterator[Named]:
    yield 'model.embed_tokens.weight', (rows, HIDDEN)
    yield 'model.norm.weight', (HIDDEN,)
    yield 'model.mm_projector.weight', (HIDDEN, CLIP_CONFIG['hidden_size'])
    yield 'model.mm_projector.bias', (HIDDEN,)
    with torch.device('meta'):
        sam = sam_model_registry['vit_b']()
    for name, value in sam.state_dict().items():
        yield SAM + name, tuple(value.shape)
    yield 'model.text_hidden_fcs.0.0.weight', (HIDDEN, HIDDEN)
    yield 'model.text_hidden_fcs.0.0.bias', (HIDDEN,)
    yield 'model.text_hidden_fcs.0.2.weight', (256, HIDDEN)
    yield 'model.text_hidden_fcs.0.2.bias', (256,)
    yield 'lm_head.weight', (rows, HIDDEN)


def write_tokenizer(folder: Path) -> int:
    """Write a small sentencepiece tokenizer with byte fallback; returns its number of tokens, LISA's three included."""
    import sentencepiece

    words = [f'word{i} {chr(97 + i % 26)}{chr(97 + i // 26 % 26)}' for i in range(2000)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model,
        vocab_size=VOCABULARY,
        model_type='bpe',
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / 'tokenizer.model').write_bytes(model.getvalue())
    return len(build_tokenizer(str(folder)))


def make_clip(folder: Path) -> None:
    """Write a small CLIP folder."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    model = CLIPVisionModel(CLIPVisionConfig(**CLIP_CONFIG))
    folder.mkdir()
    prefixed = {f'vision_model.{name.removeprefix("vision_model.")}': value for name, value in model.state_dict().items()}
    torch.save(prefixed, folder / 'pytorch_model.bin')
    (folder / 'config.json').write_text(json.dumps({'model_type': 'clip', 'vision_config': CLIP_CONFIG}))


def _peak_of(arguments: list[str]) -> int:
    command = [sys.executable, '-m', __name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=checkout_environment())
    if done.returncode:
        raise UserError(f'the measured process failed:\n{done.stderr[-2000:]}')
    return int(done.stdout.split()[-1])


def peak_of_this_process() -> int:
    """Largest resident memory so far in bytes. (``getrusage`` would count the parent's before ``exec`` too.)"""
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


if __name__ == '__main__':
    if len(sys.argv) > 1:
        import_checkpoint(sys.argv[1], sys.argv[3], clip=sys.argv[2], max_shard_size='500MB')
    print(peak_of_this_process())
