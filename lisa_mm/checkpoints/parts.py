"""Write a trained model's parts as files for the ``pretrained`` of configs."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..models import LISA
from .keys import is_adapter

RELEASED = {'image_encoder.vit.': 'image_encoder.', 'decoder.': 'mask_decoder.', 'prompt_encoder.': 'prompt_encoder.'}


def export_parts(model: LISA, folder: str | Path, dtype: torch.dtype = torch.float16) -> dict[str, int]:
    """Write language model and vision tower as Hugging Face folders, SAM in its release's keys, the rest as safetensors.

    Args:
        model: A model without LoRA.
        folder: Receives ``language_model/``, ``vision_tower/``, ``sam``, ``projector`` and ``seg_head`` ``.safetensors``.
        dtype: Dtype of the files.

    Returns:
        Number of parameters of each part.
    """
    beside = [name for name in model.state_dict() if is_adapter(name)]
    if beside:
        raise CheckpointError(
            f'the model has {len(beside)} tensors of adapters or new rows beside its weights, first {beside[0]}. '
            'Export it as one folder (tools/convert_checkpoint.py export): that merges them.'
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mllm = model.mllm
    counts = {}
    for name in ('language_model', 'vision_tower'):
        part = getattr(mllm, name).model
        counts[name] = sum(p.numel() for p in part.parameters())
        part.to(dtype).save_pretrained(folder / name)
    sam: dict[str, Tensor] = {}
    for key, value in model.mask_decoder.state_dict().items():
        old = next(prefix for prefix in RELEASED if key.startswith(prefix))
        sam[RELEASED[old] + key.removeprefix(old)] = value
    for name, state in (
        ('sam', sam),
        ('projector', mllm.projector.state_dict()),  # pyright: ignore[reportAttributeAccessIssue] - a LLaVA, as its parts above
        ('seg_head', model.seg_head.state_dict()),
    ):
        counts[name] = sum(value.numel() for value in state.values())
        save_file({key: value.to(dtype).contiguous() for key, value in state.items()}, folder / f'{name}.safetensors')
    return counts
