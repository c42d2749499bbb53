"""Fit a new language model to an already trained mask decoder: its seg head learns the old model's prompts.

A random head learns very slowly from masks alone, because the trained decoder predicts empty masks for its prompts. The prompts
of a model that the decoder knows are a far better teacher: both models read the same conversations, and the head is fitted to
the old prompts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from lisa_mm.apis.loading import load_model
from lisa_mm.datasets.collate import seg_collate
from lisa_mm.errors import ConfigError, UserError
from lisa_mm.models import LISA
from lisa_mm.models.batch import ModelInputs
from lisa_mm.progress import progress
from lisa_mm.registry import DATASETS

HELD_OUT = 0.1  # of the images
MIN_IMAGES = 10  # of fewer a tenth is none
Batch = Callable[[list[int]], ModelInputs]


def align_head(
    student: Config,
    teacher: Config,
    checkpoint: str | Path | None,
    out: str | Path,
    *,
    images: int = 800,
    batch: int = 4,
    rounds: int = 120,
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    device: str | None = None,
) -> dict[str, Any]:
    """Fit a seg head to the prompts of another model, on the conversations of that model's training data.

    Args:
        student: Source of the config whose seg head (and random projector) to fit; its language model stays unchanged. If it
            already names files in ``out``, they are made here, and the parts start at random.
        teacher: Source of the config with the trained head; its training data give the questions.
        checkpoint: Checkpoint of the teacher; None takes the parts that its config names.
        out: Folder for ``seg_head.safetensors``, and ``projector.safetensors`` if the student's projector has no file.
        images: Number of images whose conversations are read, in training order, at least 10; the last tenth is held out.
        batch: Images per forward, fewer than nine tenths of all.
        device: Device of both models; by default 'cuda' if available.
        rounds, lr, weight_decay: For AdamW over the kept states, 64 per step, with warm-up and decay; 0 rounds only measure.

    Returns:
        ``{'prompts', 'explained', 'explained_held_out', 'files'}``: how much of the prompts' variance the head explains.

    Raises:
        UserError: if no image is left for fitting or for holding out.
        ConfigError: if the two mask decoders take prompts of different widths.
    """
    if images < MIN_IMAGES:
        raise UserError(f'images={images}: at least {MIN_IMAGES} are needed, as the last tenth is held out.')
    if batch > images * (1 - HELD_OUT):
        raise UserError(f'batch={batch}: too large for {images} images, the last tenth of which is held out.')
    folder = Path(out)
    model, student_batch = _model_and_batches(_without_files_of(student, folder), teacher, device=device)
    old, teacher_batch = _model_and_batches(teacher, teacher, checkpoint, device=device)
    if model.mask_decoder.prompt_dim != old.mask_decoder.prompt_dim:
        raise ConfigError(
            f'the prompts of the teacher have {old.mask_decoder.prompt_dim} channels, those of model.mask_decoder '
            f'{model.mask_decoder.prompt_dim}: a head can only be aligned for the mask decoder that the teacher has.'
        )
    states, prompts, seen = [], [], 0
    kept = 0  # prompts of the images not held out
    for first in progress(range(0, images, batch), 'read', 'batch'):
        numbers = list(range(first, min(first + batch, images)))
        known = _prompts(old, teacher_batch(numbers))
        found = _states(model, student_batch(numbers))
        if len(found) != len(known):
            raise ConfigError(
                f'images {numbers}: {len(found)} [SEG] in the rows of the new model, {len(known)} in those of the teacher: one '
                'of them cuts its rows shorter. Give both the same max_length and max_text_length.'
            )
        states.append(found)
        prompts.append(known)
        seen += len(found)
        kept = seen if numbers[-1] < images * (1 - HELD_OUT) else kept
    inputs, targets = torch.cat(states), torch.cat(prompts)
    _fit(model, inputs[:kept], targets[:kept], rounds=rounds, lr=lr, weight_decay=weight_decay)
    middle = targets[:kept].mean(0)

    folder.mkdir(parents=True, exist_ok=True)
    files = {'model.seg_head.pretrained': (folder / 'seg_head.safetensors', model.seg_head)}
    projector = getattr(model.mllm, 'projector', None)
    if projector is not None and not projector.from_file:
        files['model.mllm.projector.pretrained'] = (folder / 'projector.safetensors', projector)
    for path, part in files.values():
        save_file({name: value.cpu().contiguous() for name, value in part.state_dict().items()}, path)
    return {
        'prompts': len(targets),
        'explained': _explained(model, inputs[:kept], targets[:kept], middle),
        'explained_held_out': _explained(model, inputs[kept:], targets[kept:], middle),
        'files': {key: str(path) for key, (path, _) in files.items()},
    }


def _without_files_of(config: Config, folder: Path) -> Config:
    """Make parts whose files are written here start at random."""
    source = copy.deepcopy(config.to_dict())
    model = source['model']
    for part in (model.get('seg_head'), (model.get('mllm') or {}).get('projector')):
        if part and part.get('pretrained') and Path(part['pretrained']).resolve().parent == folder.resolve():
            part['pretrained'] = None
    return Config(source)


def _model_and_batches(
    config: Config, data: Config, checkpoint: str | Path | None = None, *, device: str | None = None
) -> tuple[LISA, Batch]:
    """A model, and batches of ``data``'s training set in that model's form."""
    source = copy.deepcopy(config.to_dict())
    wanted = data.to_dict()
    for key in ('train_dataloader', 'data_root'):
        source.pop(key, None)
        if key in wanted:
            source[key] = copy.deepcopy(wanted[key])
    model, compiled = load_model(Config(source), checkpoint, device=device)
    loader = compiled.get('train_dataloader')
    if not loader:
        raise ConfigError('the teacher has no train_dataloader: its training data ask the questions.')
    dataset = DATASETS.build(loader.dataset)

    def read(numbers: list[int]) -> ModelInputs:
        samples = [dataset[number] for number in numbers]
        return model.data_preprocessor(seg_collate(samples, pad_token_id=loader.collate_fn.pad_token_id))['inputs']

    return model, read


@torch.no_grad()
def _prompts(model: LISA, inputs: ModelInputs) -> Tensor:
    """Prompts of all ``[SEG]`` of a batch, (K, prompt_dim)."""
    return torch.cat(model.seg_head(_hidden(model, inputs), inputs['input_ids'], model.mask_token_ids))


@torch.no_grad()
def _states(model: LISA, inputs: ModelInputs) -> Tensor:
    """The state that predicts and the one at each ``[SEG]``, (K, 2, D)."""
    hidden = _hidden(model, inputs)
    found = model.layout_of(inputs).prompts
    row, position = found.row, found.position
    return torch.stack([hidden[row, position - 1], hidden[row, position]], dim=1)


def _hidden(model: LISA, inputs: ModelInputs) -> Tensor:
    keep = torch.zeros_like(inputs['input_ids'], dtype=torch.bool)
    keep[:, 0] = True  # word logits are unused, but a model needs some positions
    return model.mllm(inputs, keep).hidden_states


def _head(model: LISA, states: Tensor) -> Tensor:
    """Run the head over rows of two tokens, (K, 2, D) -> (K, prompt_dim)."""
    seg = model.mask_token_ids[0]
    ids = torch.tensor([[seg - 1, seg]], device=states.device).expand(len(states), 2)
    return torch.cat(model.seg_head(states, ids, seg))


def _fit(model: LISA, states: Tensor, prompts: Tensor, *, rounds: int, lr: float, weight_decay: float) -> None:
    steps = rounds * len(states) // 64
    if not steps:
        return
    model.seg_head.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.seg_head.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    draw = torch.Generator().manual_seed(0)
    for _ in progress(range(steps), 'fit', 'step'):
        # drawn on the CPU, for equal numbers on every device
        chosen = torch.randint(len(states), (64,), generator=draw).to(states.device)
        loss = (_head(model, states[chosen]) - prompts[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.seg_head.eval()


@torch.no_grad()
def _explained(model: LISA, states: Tensor, prompts: Tensor, middle: Tensor) -> float:
    """1 - squared error / variance around the mean prompt."""
    error = (_head(model, states) - prompts).square().sum()
    return float(1 - error / (prompts - middle).square().sum())
