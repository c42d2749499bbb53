"""The kinds of work that a turn can measure; each step is a function that returns numbers to compare between turns.

Only names that commit d96c19b has too are used here: its checkout is measured by the same code.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lisa_mm
from lisa_mm.models import LISA
from lisa_mm.registry import MODELS
from lisa_mm.structures import SegDataSample

from ..presets import TOKENIZER, Preset
from .parts import REST

Step = Callable[[], list[float]]
IMAGE, IGNORE = -200, -100  # in this package's tokens.py, which d96c19b lacks
ANSWER = 12  # last tokens of a row, which carry loss ("Sure, it is [SEG].</s>")
NEW_TOKENS = 12
QUESTIONS = ('the red cup', 'a ball', 'Which fruit is sour?', 'the big blue kite on the left', 'the dog', 'Where could it drink?')
# Random weights say no [SEG]; that of an earlier turn gives the mask
EARLIER = [('the first of all the things here', '[SEG]')]
SAMPLES = 40  # of a reader's data per step
# the modules of each work's command, one of which says whether the command keeps freed memory
COMMANDS = {
    'train': ('training',),
    'validate': ('testing', 'loading'),
    'generate': ('inferencer', 'loading'),
    'questions': ('inferencer', 'loading'),
}


def build(preset: Preset, work: str, *, shared: bool) -> LISA:
    """A model of random weights, trained or in eval mode.

    Args:
        preset: Its sizes.
        work: The kind of work.
        shared: Ask for a shared prefix; False leaves it to the checkout's default.
    """
    train = work == 'train'
    torch.manual_seed(0)
    model: Any = MODELS.build(preset.model(train=train, **({'share_prefix': True} if shared else {})))
    return model.train(train)


def keep_freed_memory(work: str) -> None:
    """Keep freed memory if the checkout's command for this work does so."""
    from lisa_mm.engine import memory

    modules = [Path(lisa_mm.__path__[0]) / 'apis' / f'{name}.py' for name in COMMANDS[work]]
    if any('keep_freed_memory' in module.read_text() for module in modules):
        memory.keep_freed_memory()


def batch_of(model: LISA, preset: Preset, images: int) -> dict[str, Any]:
    """Make a collated batch. The rows of an image begin alike; each has an answer with labels and one ``[SEG]``."""
    generator = torch.Generator().manual_seed(0)
    rows, mllm = images * preset.rows, model.mllm
    count: Any = mllm.num_image_tokens
    text = torch.randint(5, 1000, (rows, preset.text_tokens), generator=generator)
    text[:, :4] = torch.arange(5, 9)
    text[:, -3] = model.seg_token_id  # pyright: ignore[reportArgumentType] - the tokenizer gives it
    image = torch.full((rows, count(0, 0)), IMAGE)
    ids = torch.cat([text[:, :4], image, text[:, 4:]], dim=1)
    labels = torch.full_like(ids, IGNORE)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    side, seen = preset.encoder['image_size'], preset.vision['image_size']
    inputs = {
        'pixel_values': _bytes(generator, images, 3, seen, seen),
        'mask_images': _bytes(generator, images, 3, side, side),
        'input_ids': ids,
        'labels': labels,
        'attention_mask': torch.ones_like(ids, dtype=torch.bool),
        'image_index': torch.arange(images).repeat_interleave(preset.rows),
    }
    return {'inputs': inputs, 'data_samples': [_sample(preset, number, generator) for number in range(images)]}


def _bytes(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def _sample(preset: Preset, number: int, generator: torch.Generator) -> SegDataSample:
    side, (height, width) = preset.encoder['image_size'], preset.size
    rows = preset.rows
    asked = {'conversations': [[('the cup', '[SEG].')]] * rows, 'mask_counts': [[1]] * rows, 'img_path': f'{number}.png'}
    resized = (round(height * side / width), side)
    meta = {'sample_id': str(number), 'original_size': (height, width), 'resized_size': resized, **asked}
    sample = SegDataSample(metainfo=meta)
    sample.set_data({'gt_masks': (torch.rand(rows, height, width, generator=generator) > 0.5).to(torch.uint8)})
    return sample


def train_step(model: LISA, preset: Preset, enter: Callable[[str], None], features: str | None = None) -> Step:
    """One optimizer step of AdamW over LoRA, embeddings, head, seg head and mask decoder.

    The step returns the losses before it. LoRA begins at zero, so its dropout does not matter in the first step.

    Args:
        model: The model.
        preset: Its sizes.
        enter: Called with the name of each part that begins.
        features: A folder from which each step reads the features of frozen encoders; None encodes the images.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.0)
    batch = batch_of(model, preset, preset.images)
    give = reading(model, batch, features) if features else lambda: batch

    def step() -> list[float]:
        losses: Any = model(**model.data_preprocessor(give(), True), mode='loss')
        torch.stack(list(losses.values())).sum().backward()
        enter('optimizer')
        optimizer.step()
        optimizer.zero_grad()
        enter(REST)
        return [losses[name].item() for name in sorted(losses)]

    return step


def reading(model: LISA, batch: dict[str, Any], folder: str) -> Callable[[], dict[str, Any]]:
    """Keep the features of a batch's images on disk; the result reads them, as workers of a data set with ``cache_features`` do.

    Args:
        model: The model with its frozen encoders.
        batch: A batch with images.
        folder: Where the features are kept.
    """
    from lisa_mm.datasets.collate import join_cached
    from lisa_mm.datasets.feature_store import Entry, FeatureStore
    from lisa_mm.datasets.transforms.cached import CachedImage
    from lisa_mm.models.frozen_features import PIXELS, dtype_name, encode_maps, frozen_encoders, weights_key

    store, samples = FeatureStore(folder, 2**40), batch['data_samples']
    keys = [f'{number:040x}' for number in range(len(samples))]
    encoders = {name: (weights_key(encoder), None) for name, encoder in frozen_encoders(model)[0].items()}
    seen: Any = model.data_preprocessor(batch)['inputs']
    for name, (encoder, _) in encoders.items():
        with torch.no_grad():
            maps = encode_maps(model.mllm if name == 'vision_tower' else model.mask_decoder, seen[PIXELS[name]])
        given = {key: dtype_name(value.dtype) for key, value in maps.items()}
        for number, sample in enumerate(samples):
            own = {key: value[number].clone() for key, value in maps.items()}
            store.write(encoder, keys[number], Entry(own, given, sample.original_size, sample.resized_size))
    rest = {key: value for key, value in batch['inputs'].items() if key not in PIXELS.values()}

    def read() -> dict[str, Any]:
        images = []
        for key, sample in zip(keys, samples, strict=True):
            found: Any = {name: store.read(encoder, key) for name, (encoder, _) in encoders.items()}
            images.append(CachedImage(key, encoders, found, sample.original_size, sample.resized_size))
        return {'inputs': {**rest, 'cached': join_cached(images)}, 'data_samples': samples}

    return read


def validate_step(model: LISA, preset: Preset) -> Step:
    """Masks and counts of an image whose answers are given; the step returns gIoU's and cIoU's terms."""
    from lisa_mm.evaluation.seg_iou import SegIoUMetric

    batch = batch_of(model, preset, 1)
    options = {'binary': True} if 'binary' in inspect.signature(model.predict).parameters else {}

    @torch.no_grad()
    def step() -> list[float]:
        own = {**batch, 'data_samples': [sample.clone() for sample in batch['data_samples']]}
        data = model.data_preprocessor(own)
        metric = SegIoUMetric()
        metric.process(None, model.predict(data['inputs'], data['data_samples'], **options))
        return [float(number) for image in metric.results for pair in image for number in pair]

    return step


def ask_step(model: LISA, preset: Preset, questions: int) -> Step:
    """Questions about a new image with twelve tokens and one mask each; the step returns the number of tokens and masks."""
    ask = _inferencer(model)
    asked = [QUESTIONS[number % len(QUESTIONS)] for number in range(questions)]
    draws = np.random.default_rng(0)

    @torch.no_grad()
    def step() -> list[float]:
        image = draws.integers(0, 255, (*preset.size, 3), dtype=np.uint8)
        answers = ask(image, asked)
        return [float(len(answers)), float(sum(len(answer.masks) for answer in answers))]

    return step


def _inferencer(model: LISA) -> Callable[[np.ndarray, list[str]], list[Any]]:
    from lisa_mm.apis.inferencer import LISAInferencer

    if 'batch_size' in inspect.signature(LISAInferencer.__call__).parameters:
        ask: Any = LISAInferencer(model, show_progress=False)
        options = {'history': EARLIER, 'max_new_tokens': NEW_TOKENS, 'raw': True}
        return lambda image, asked: ask([image] * len(asked), asked, batch_size=len(asked), **options)
    # d96c19b: one question at a time, and no model in memory
    from lisa_mm.datasets.tokenizer import build_tokenizer
    from lisa_mm.datasets.transforms import ResizeForMaskDecoder, ResizeForVisionTower

    ask = LISAInferencer.__new__(LISAInferencer)
    ask.device, ask.model, mllm = 'cpu', model, model.mllm
    ask.spec = mllm.tokenizer_spec
    ask.tokenizer = build_tokenizer(**ask.spec)
    count: Any = mllm.num_image_tokens
    ask.num_image_tokens, ask._seen = count(0, 0), None
    ask.steps = [ResizeForVisionTower(mllm.preprocess), ResizeForMaskDecoder(model.mask_decoder.preprocess)]
    return lambda image, asked: [ask(image, one, history=EARLIER, max_new_tokens=NEW_TOKENS) for one in asked]


def data_step(work: str, folder: str, samples: int) -> Step:
    """Samples of a set at the published sizes, collated by one worker; the step returns the shape of images.

    Args:
        work: A kind of work among :data:`READERS`.
        folder: An empty folder for the data.
        samples: How many a step reads.
    """
    from lisa_mm.datasets import ReasonSegDataset, ReferSegDataset
    from lisa_mm.datasets.collate import seg_collate
    from lisa_mm.datasets.transforms import PackSegInputs

    from .. import data

    os.environ[data.CACHE_VARIABLE] = str(Path(folder) / 'cache')
    root = Path(folder) / 'root'
    write, kind = {'data': (data.write_refcoco, ReferSegDataset), 'photos': (data.write_reason_seg, ReasonSegDataset)}[work]
    write(root, data.FILES)
    steps = [*data.transforms(dict(pretrained=TOKENIZER, template='plain', wrap_image=True)), PackSegInputs()]
    batches = data.loader(kind(str(root), pipeline=steps), 1, seg_collate)

    def step() -> list[float]:
        shape = [next(batches)['inputs']['mask_images'].shape for _ in range(samples)][-1]
        return [float(side) for side in shape]

    return step


def step_of(
    work: str, preset: Preset, *, shared: bool, enter: Callable[[str], None], features: str | None = None
) -> tuple[Any, Step]:
    """The model and the step of a kind of work that needs one; ``features`` as in :func:`train_step`."""
    keep_freed_memory(work)
    model = build(preset, work, shared=shared)
    if work == 'train':
        return model, train_step(model, preset, enter, features)
    if work == 'validate':
        return model, validate_step(model, preset)
    return model, ask_step(model, preset, 1 if work == 'generate' else 16)
