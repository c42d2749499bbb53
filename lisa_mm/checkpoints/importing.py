"""Import published checkpoints into one folder of ours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..registry import BACKBONES, LANGUAGE_MODELS, MASK_DECODERS, PROJECTORS, SEG_HEADS
from . import keys
from .architecture import DECODER_HEADS, clip_config, llama_config, projector_config, sam_widths
from .exported import check_new, is_exported, write_exported
from .folder import CHECKPOINT_MARKS
from .ledger import Ledger, ledger_in
from .matching import MatchedTensors
from .published import inverse_frequencies
from .recipe import HERE_TOKENIZER, fine_tuning_config
from .safetensors_writer import parse_size
from .sources import WeightFiles, read_json
from .table import Table
from .tokens import require_tokenizer, seg_token

LISA, LLAVA, STATE, SAM, CLIP = 'LISA', 'LLaVA', 'training state', 'SAM', 'CLIP'
KINDS = 'a LISA or LLaVA folder, a SAM .pth, a CLIP folder, or a training state of zero_to_fp32 (file or folder)'


def import_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    clip: str | Path | None = None,
    sam: str | Path | None = None,
    llm: str | Path | None = None,
    template: str = 'llava_v1',
    lora_alpha: float | None = None,
    lora_rank: int | None = None,
    decoder_heads: int = DECODER_HEADS,
    max_shard_size: str = '5GB',
    data_root: str = 'dataset',
) -> Table:
    """Write a published checkpoint as a folder of ours; tensors stay unchanged except for merged LoRA.

    Args:
        source: One of :data:`KINDS`, recognised by its tensor names and its config.json.
        target: The folder; must not exist.
        clip: CLIP folder: LISA and LLaVA folders lack the tower's weights, a training state lacks its config.
        sam: SAM file to add to a LLaVA folder.
        llm: LLaVA folder with the config.json and tokenizer of a training state.
        template: Conversation template of the model; no file records it.
        lora_alpha: Alpha of a training state's adapters; no file records it.
        lora_rank: Required rank of the adapters; read from their shapes if left out.
        decoder_heads: Attention heads of SAM's mask decoder; no file records them.
        max_shard_size: Maximum size of a written shard.
        data_root: Root of the data sets in the folder's config.

    Returns:
        What happened to every tensor.

    Raises:
        CheckpointError: if something is missing, damaged, unknown or does not fit; nothing is written then.
    """
    source = Path(source)
    check_new(target)
    max_bytes = parse_size(max_shard_size)
    if _is_training(source):
        from .exporting import export_checkpoint

        return export_checkpoint(source, target, layout='folder', max_shard_size=max_shard_size)
    files = open_source(source)
    kind = kind_of(source, files)
    folder = _llm_folder(kind, source, llm)
    _check_companions(kind, source, clip=clip, sam=sam)

    # Names and adapters
    tensors = MatchedTensors(lora_alpha=lora_alpha, lora_rank=lora_rank)
    rename = {SAM: keys.from_sam, CLIP: keys.from_clip}.get(kind, keys.from_language_model)
    tensors.add(files, rename, clip=kind == CLIP)
    tower_config = None
    if kind == CLIP or clip is not None:
        tower = source if kind == CLIP else Path(clip or '')
        tower_config = clip_config(read_json(tower / 'config.json'), str(tower))
        if not any(name.startswith(keys.VISION_TOWER + '.') for name in tensors.info):
            tensors.add(WeightFiles(tower), keys.from_clip, clip=True)
    if sam is not None:
        tensors.add(WeightFiles(sam), keys.from_sam)

    # Parts, and the tensors they need
    written = read_json(folder / 'config.json') if folder else {}
    shapes = {name: info.shape for name, info in tensors.info.items()}
    model = part_configs(shapes, written, tower_config, where=str(folder or source), heads=decoder_heads)
    if kind == STATE:  # its config.json describes the model before the new tokens
        model['language_model']['config']['vocab_size'] = shapes.get(f'{keys.LANGUAGE_MODEL}.model.lm_head.weight', (0,))[0]
    table = tensors.table
    table.add_missing_and_reshaped(part_shapes(model, published=written, tokenizer=folder))
    table.check(str(source))

    # Tokens
    seg, wrapped = None, True
    if kind in (LISA, STATE):
        assert folder is not None
        seg, wrapped = seg_token(folder, _rows(shapes), template=template)
    elif folder is not None:
        require_tokenizer(folder)
    if 'language_model' in model:
        model['language_model'] |= {'tokenizer': HERE_TOKENIZER, 'template': template, 'gradient_checkpointing': True}
        if not wrapped:
            model['language_model']['wrap_image'] = False

    write_exported(
        target,
        tensors,
        fine_tuning_config(model, data_root=data_root),
        tokenizer=folder,
        table=table.text(),
        record={
            'source': {'kind': kind, 'path': str(source), 'files': {f.name: f.stat().st_size for f in files.files}},
            'companions': {k: str(v) for k, v in (('clip', clip), ('sam', sam), ('llm', llm)) if v is not None},
            'given': {'template': template, 'lora_alpha': lora_alpha, 'lora_rank': lora_rank, 'decoder_heads': decoder_heads},
            'seg_token_id': seg,
            'inv_freq_dtype': _check_rotary_buffer(files, written) if folder else None,
            'published': _published_files(folder) if folder else {},
        },
        max_bytes=max_bytes,
        ledger=_ledger(kind, source),
    )
    tensors.close()
    return table


def _ledger(kind: str, source: Path) -> Ledger:
    """What a published checkpoint was trained on: only our own exports say it."""
    found = ledger_in(source) if source.is_dir() else None
    return found or Ledger(
        unknown=(f'imported from the {kind} checkpoint {source.name}, which does not say what it was trained on',)
    )


def _is_training(path: Path) -> bool:
    """Whether a path is a checkpoint or a work folder of our own training."""
    return any((path / mark).is_file() for mark in CHECKPOINT_MARKS)


def open_source(path: Path) -> WeightFiles:
    """Open the tensors that a user wants to import."""
    if is_exported(path):
        raise CheckpointError(f'{path} is a folder of ours already: use it, or export it to the published layout.')
    return WeightFiles(path)


def kind_of(path: Path, files: WeightFiles) -> str:
    """The kind of a checkpoint, by its tensor names and its config.json.

    Raises:
        CheckpointError: for another model's checkpoint.
    """
    names = files.info
    if any(name.startswith(keys.WRAPPER) or keys.LORA.fullmatch(name) for name in names):
        return STATE
    if any(name.startswith('image_encoder.') for name in names) and any(name.startswith('mask_decoder.') for name in names):
        return SAM
    if path.is_dir() and any(name.startswith('vision_model.') for name in names):
        clip_config(read_json(path / 'config.json'), str(path))
        return CLIP
    if path.is_dir() and any(name.startswith('model.text_hidden_fcs.') for name in names):
        return LISA
    if path.is_dir() and any(name.startswith('model.mm_projector.') for name in names):
        return LLAVA
    model_type = read_json(path / 'config.json').get('model_type') if (path / 'config.json').is_file() else None
    raise CheckpointError(
        f'{path} is none of the checkpoints that can be imported ({KINDS}): '
        f'{f"its config.json says model_type {model_type!r}, " if model_type else ""}its tensors are named '
        f'{", ".join(list(names)[:3])}, ... Another language model is named as language_model.pretrained in a config.'
    )


def _llm_folder(kind: str, source: Path, llm: str | Path | None) -> Path | None:
    """The folder with config.json and tokenizer of the language model."""
    if kind == STATE:
        if llm is None:
            raise CheckpointError(
                f"{source} is a training state: it holds neither the language model's config.json nor its tokenizer. "
                'Give --llm FOLDER, the LLaVA folder that the training began with.'
            )
        return Path(llm)
    if llm is not None:
        raise CheckpointError(f'--llm belongs to a training state; {source} is a {kind} checkpoint. Leave it out.')
    return source if kind in (LISA, LLAVA) else None


def _check_companions(kind: str, source: Path, *, clip: str | Path | None, sam: str | Path | None) -> None:
    if kind in (LISA, STATE) and clip is None:
        what = "the vision tower's weights" if kind == LISA else "the vision tower's config.json"
        raise CheckpointError(
            f'{source} does not hold {what}. Give --clip FOLDER (openai/clip-vit-large-patch14, or the one that its config.json '
            'names as mm_vision_tower).'
        )
    if clip is not None and kind in (SAM, CLIP):
        raise CheckpointError(f'--clip goes beside a language model; {source} is a {kind} checkpoint. Leave it out.')
    if sam is not None and kind != LLAVA:
        raise CheckpointError(f'--sam goes beside a LLaVA folder; {source} is a {kind} checkpoint. Leave it out.')


def part_configs(
    shapes: dict[str, tuple[int, ...]],
    written: dict[str, Any],
    tower: dict[str, Any] | None,
    *,
    where: str,
    heads: int = DECODER_HEADS,
) -> dict[str, dict[str, Any]]:
    """Configs of the parts that own the tensors, by the last word of the part's name.

    Args:
        shapes: Shapes by our names.
        written: config.json of the language model's folder.
        tower: ``CLIPVisionTower(config=...)``.
        where: Name of the folder in errors.
        heads: Attention heads of SAM's mask decoder.
    """
    held = {keys.part_of(name) for name in shapes}
    model: dict[str, dict[str, Any]] = {}
    if keys.LANGUAGE_MODEL in held:
        model['language_model'] = dict(type='CausalLM', config=llama_config(written, where))
    if keys.VISION_TOWER in held:
        assert tower is not None
        feature = written.get('mm_vision_select_feature', 'patch')
        if feature != 'patch':
            raise CheckpointError(f"{where}: mm_vision_select_feature is {feature!r}; only 'patch' is supported.")
        model['vision_tower'] = dict(type='CLIPVisionTower', config=tower, layer=written.get('mm_vision_select_layer', -2))
    if keys.PROJECTOR in held:
        model['projector'] = projector_config(shapes)
    if keys.SEG_HEAD in held:
        model['seg_head'] = dict(type='SegTokenHead')
    if keys.MASK_DECODER in held:
        released = {(keys.to_published(n) or '').removeprefix(keys.SAM): s for n, s in shapes.items() if _is_sam(n)}
        model['mask_decoder'] = dict(type='SAMMaskDecoder', **sam_widths(released, heads=heads))
    return model


def _is_sam(name: str) -> bool:
    return name.startswith(keys.MASK_DECODER + '.')


def part_shapes(
    model: dict[str, dict[str, Any]], *, published: dict[str, Any], tokenizer: Path | None
) -> dict[str, tuple[int, ...]]:
    """Our names and shapes of the tensors the parts need, from building them on the meta device."""
    built: dict[str, torch.nn.Module] = {}
    with torch.device('meta'):
        if 'language_model' in model:
            part = model['language_model']
            rows = part['config']['vocab_size']
            given = {**part, 'tokenizer': str(tokenizer), 'vocab_size': rows}
            built[keys.LANGUAGE_MODEL] = LANGUAGE_MODELS.build(given)
        if 'vision_tower' in model:
            built[keys.VISION_TOWER] = BACKBONES.build(model['vision_tower'])
        width = built[keys.LANGUAGE_MODEL].hidden_size if keys.LANGUAGE_MODEL in built else None
        if 'projector' in model:
            tower = built.get(keys.VISION_TOWER)
            channels = tower.out_channels if tower is not None else published.get('mm_hidden_size')
            if channels is None:
                raise CheckpointError('config.json has no mm_hidden_size. Give --clip FOLDER, whose width the projector takes.')
            built[keys.PROJECTOR] = PROJECTORS.build({**model['projector'], 'in_channels': channels, 'out_channels': width})
        if 'mask_decoder' in model:
            built[keys.MASK_DECODER] = MASK_DECODERS.build(model['mask_decoder'])
        if 'seg_head' in model:
            if keys.MASK_DECODER not in built or width is None:
                raise CheckpointError('the checkpoint holds a text projection, but no mask decoder or language model. It is cut.')
            prompt_dim = built[keys.MASK_DECODER].prompt_dim
            built[keys.SEG_HEAD] = SEG_HEADS.build({**model['seg_head'], 'in_channels': width, 'prompt_dim': prompt_dim})
    return {f'{part}.{name}': tuple(value.shape) for part, module in built.items() for name, value in module.state_dict().items()}


def _check_rotary_buffer(files: WeightFiles, config: dict[str, Any]) -> str | None:
    """Raise if a rotary buffer differs from the one given by the config: positions would be wrong.

    Returns:
        Its dtype, for an export, if it differs from the weights'.
    """
    name = next((name for name in files.info if name.endswith(keys.INV_FREQ)), None)
    if name is None:
        return None
    buffer, expected = files.read(name), inverse_frequencies(config)
    # bfloat16 has 8 significant bits: rounding is at most 2^-9
    if buffer.shape != expected.shape or not torch.allclose(buffer.float(), expected, rtol=2**-8, atol=0):
        raise CheckpointError(
            f'{files.path}: {name} is not 1 / theta^(2i/d) with the rope_theta of config.json: positions would be read wrongly. '
            'Set rope_theta in its config.json to the one that the weights were trained with.'
        )
    layer = name.removesuffix(keys.INV_FREQ) + '.self_attn.o_proj.weight'
    return str(buffer.dtype).removeprefix('torch.') if buffer.dtype != files.info[layer].dtype else None


def _rows(shapes: dict[str, tuple[int, ...]]) -> int:
    return shapes[f'{keys.LANGUAGE_MODEL}.model.lm_head.weight'][0]


def _published_files(folder: Path, names: Iterable[str] = ('config.json', 'generation_config.json')) -> dict[str, Any]:
    """Files that an export to the published layout writes back unchanged."""
    return {name: read_json(folder / name) for name in names if (folder / name).is_file()}
