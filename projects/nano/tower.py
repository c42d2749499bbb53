"""The vision tower of the nano parts: a small CLIP tower that learns to name what each of its patches shows.

Captions and masks taught a tower of this size little: SAM sees for the masks, and a caption does not say where things are. Here
each patch has a label.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from lisa_mm.errors import UserError
from lisa_mm.progress import progress

from .demo.kinds import COLOURS, KINDS, SIZES
from .demo.recorded import SEED
from .demo.scenes import Scene, draw_scene
from .numbers import check_at_least

IMAGE_SIZE, PATCH_SIZE = 128, 16
SIDE = IMAGE_SIZE // PATCH_SIZE  # patches
READ_LAYER = -2  # the hidden states that LLaVA's models read
MIN_SHARE = 0.1  # of a patch: a smaller part of an object is no label
NAMES = (list(KINDS), list(COLOURS), list(SIZES))
ROLL = 2  # patches, at most
"""Scenes are shifted by whole patches and mirrored, so that they are not learnt by heart."""

RECOLOURED = 0.3
"""Share of the batches whose red, green and blue change places; their colours are not asked for. Kinds are then known in the
colours that training never shows them in, too."""


@dataclass(frozen=True)
class Patches:
    """Images with a label per patch.

    Args:
        pixels: (N, 3, 128, 128) uint8.
        labels: (N, 3, 8, 8) int64: number of kind, colour and size from 1, in the order of the demo's tables; 0 without one.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


def labels_of(scene: Scene) -> np.ndarray:
    """(3, 8, 8) int64: kind, colour and size of the object that fills most of each patch, as in :class:`Patches`."""
    height, width = scene.image.shape[:2]
    owner = np.zeros((height, width), np.uint8)
    for number, obj in enumerate(scene.objects, 1):
        owner[obj.mask > 0] = number
    owner = np.asarray(Image.fromarray(owner).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.NEAREST))
    cells = owner.reshape(SIDE, PATCH_SIZE, SIDE, PATCH_SIZE).swapaxes(1, 2).reshape(SIDE * SIDE, -1)
    shares = np.stack([(cells == number).mean(axis=1) for number in range(1, len(scene.objects) + 1)])
    best = np.where(shares.max(axis=0) >= MIN_SHARE, shares.argmax(axis=0) + 1, 0)
    known = [(o.kind, o.colour, o.size) for o in scene.objects]
    numbers = np.array([(0, 0, 0), *([names.index(name) + 1 for names, name in zip(NAMES, own, strict=True)] for own in known)])
    return numbers[best].T.reshape(3, SIDE, SIDE)


def _patches_of(index: int, *, split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    scene = draw_scene(seed, split, index)
    image = Image.fromarray(scene.image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1), labels_of(scene)


def draw_patches(split: str, count: int, *, seed: int = SEED, workers: int = 2) -> Patches:
    """Draw the first scenes of a split, with a label per patch.

    Args:
        split: One of the demo's splits.
        count: Number of scenes.
        seed: The demo's.
        workers: Processes that draw; below 2 this one does.
    """
    draw = partial(_patches_of, split=split, seed=seed)
    if workers < 2:
        drawn = [draw(index) for index in progress(range(count), split, 'scene')]
    else:
        with multiprocessing.get_context('spawn').Pool(workers) as pool:
            drawn = list(progress(pool.imap(draw, range(count), chunksize=8), split, 'scene', total=count, smoothing=0.05))
    pixels, labels = (torch.from_numpy(np.stack(column)) for column in zip(*drawn, strict=True))
    return Patches(pixels, labels)


class PatchNames(nn.Module):
    """A CLIP tower with a linear classifier of kind, colour and size over the layer that language models read."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(
            CLIPVisionConfig(
                image_size=IMAGE_SIZE,
                patch_size=PATCH_SIZE,
                hidden_size=128,
                intermediate_size=256,
                num_hidden_layers=4,
                num_attention_heads=4,
            )
        )
        self.counts = [len(names) + 1 for names in NAMES]
        self.norm = nn.LayerNorm(128, elementwise_affine=False)
        self.classifier = nn.Linear(128, sum(self.counts))
        self.register_buffer('mean', 255 * torch.tensor(OPENAI_CLIP_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer('std', 255 * torch.tensor(OPENAI_CLIP_STD).reshape(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        """Logits of kind, colour and size: (N, 64, numbers) each, for pixels (N, 3, 128, 128) uint8."""
        states = self.tower((pixels - self.mean) / self.std, output_hidden_states=True).hidden_states[READ_LAYER]
        return self.classifier(self.norm(states[:, 1:])).split(self.counts, dim=-1)


def train_tower(
    folder: str | Path,
    *,
    scenes: int = 12000,
    steps: int = 9000,
    batch: int = 32,
    lr: float = 1.5e-3,
    seed: int = SEED,
    workers: int = 2,
) -> dict[str, float]:
    """Train a tower on the demo's pretraining scenes and write it as a Hugging Face folder.

    Args:
        folder: Folder to write.
        scenes: Number of scenes to draw.
        steps: Optimizer steps.
        batch: Scenes per step.
        lr: Highest rate; it rises for 200 steps and then falls to zero.
        seed: The demo's.
        workers: Processes that draw.

    Returns:
        Share of the patches of 300 other scenes that have an object whose 'kind', 'colour' and 'size' are named right.

    Raises:
        UserError: for a number below 1, or a folder that cannot be made.
    """
    check_at_least(1, scenes=scenes, steps=steps, batch=batch)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)  # a fault shows now, not after the training
    except OSError as error:
        raise UserError(f'{folder} cannot be written ({error}): give another folder.') from error
    train = draw_patches('pretrain', scenes, seed=seed, workers=workers)
    held_out = draw_patches('pretrain_val', min(scenes, 300), seed=seed, workers=1)
    torch.manual_seed(0)
    rng, model = np.random.default_rng(0), PatchNames()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.05)
    for step in progress(range(steps), 'tower', 'step', smoothing=0.05):
        optimizer.param_groups[0]['lr'] = lr * min(1, step / 200) * (1 - step / steps)
        pixels, labels = moved(train, rng.choice(len(train), batch), rng)
        logits = model(pixels)
        loss = torch.stack(
            [
                nn.functional.cross_entropy(given.flatten(0, 1), wanted.flatten())
                for given, wanted in zip(logits, labels.unbind(1), strict=True)
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.tower.save_pretrained(folder)
    return named_right(model, held_out)


def moved(patches: Patches, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Some images with their labels, all shifted by the same whole patches: what leaves comes back on the opposite side.

    Half of the batches are mirrored too. Labels of a colour that was changed are -100, which cross entropy leaves out.
    """
    pixels, labels = patches.pixels[chosen], patches.labels[chosen]
    down, right = (int(step) for step in rng.integers(-ROLL, ROLL + 1, 2))
    pixels = pixels.roll((PATCH_SIZE * down, PATCH_SIZE * right), (-2, -1))
    labels = labels.roll((down, right), (-2, -1))
    if rng.random() < RECOLOURED:
        pixels = pixels[:, rng.permutation(3)]
        labels[:, 1] = -100
    return (pixels.flip(-1), labels.flip(-1)) if rng.random() < 0.5 else (pixels, labels)


@torch.no_grad()
def named_right(model: PatchNames, patches: Patches) -> dict[str, float]:
    """Share of the patches with an object whose kind, colour and size are named right."""
    right, objects = torch.zeros(len(NAMES)), 0
    for start in range(0, len(patches), 100):
        labels = patches.labels[start : start + 100].flatten(2)
        there = labels[:, 0] > 0
        objects += int(there.sum())
        logits = model(patches.pixels[start : start + 100])
        right += torch.stack(
            [(given.argmax(-1) == wanted)[there].sum() for given, wanted in zip(logits, labels.unbind(1), strict=True)]
        )
    return dict(zip(('kind', 'colour', 'size'), (right / max(1, objects)).tolist(), strict=True))
