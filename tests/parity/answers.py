"""Generated answers and whole validation sets of a golden folder, by our model on its device and in its number format."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.conversation import encode, render
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import (
    DecodeMasks,
    EncodeConversations,
    LoadImage,
    PackSegInputs,
    ResizeForMaskDecoder,
    ResizeForVisionTower,
)
from lisa_mm.models import LISA
from lisa_mm.structures import SegDataSample
from lisa_mm.tokens import IMAGE_TOKEN_ID

from .golden import Golden, validation_set

NEAR = 1e-3  # MANIFEST: mask logits may differ by so much; a pixel closer to 0 may fall on either side


def read_evaluation(golden: Golden) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The table of ``cases`` and ``validation`` sets, and all their arrays."""
    with np.load(golden.root / 'evaluate.npz') as arrays:
        return json.loads((golden.root / 'evaluate.json').read_text()), dict(arrays)


def turns_of(prompt: str) -> list[tuple[str, str | None]]:
    """A prompt of the llava_v1 template -> questions and answers, the last one open."""
    found = re.findall(r'USER: (.*?) ASSISTANT:(?: (.*?)</s>)?', prompt, flags=re.S)
    return [(question.replace('<im_start><image><im_end>', '<image>'), answer or None) for question, answer in found]


def answer_case(golden: Golden, case: dict[str, Any], model: Any, tokenizer: Any) -> dict[str, Any]:
    """Generate the answer of a case.

    Args:
        golden: Holds the image.
        case: An entry of the table's ``cases``.
        model: The merged model in eval mode.
        tokenizer: The model's tokenizer.

    Returns:
        What goes in (``inputs``, ``sample``), what comes out (``output``, ``mask_logits``), an entry for each run of the vision
        tower (``towers``), and the positions of each run of the language model (``lengths``).
    """
    segments = render(turns_of(case['prompt']), 'llava_v1')
    ids, _ = encode(segments, tokenizer, num_image_tokens=model.mllm.num_image_tokens(0, 0), wrap_image=True)
    results = {'img_path': str(golden.root / 'dataset' / case['image']), 'sample_id': case['name']}
    for step in (
        LoadImage(),
        ResizeForVisionTower(model.mllm.preprocess),
        ResizeForMaskDecoder(model.mask_decoder.preprocess),
    ):
        results = step(results)
    sample = SegDataSample(metainfo={key: results[key] for key in ('sample_id', 'original_size', 'resized_size')})
    inputs = {
        'pixel_values': torch.from_numpy(results['pixel_values'])[None],
        'mask_images': torch.from_numpy(results['mask_image'])[None],
        'input_ids': ids[None],
        'attention_mask': torch.ones_like(ids, dtype=torch.bool)[None],
        'image_index': torch.zeros(1, dtype=torch.long),
    }
    inputs = model.data_preprocessor({'inputs': inputs, 'data_samples': [sample]})['inputs']
    towers, lengths = [], []
    hooks = [
        model.mllm.vision_tower.register_forward_hook(lambda *_: towers.append(1)),
        model.mllm.language_model.model.get_decoder()
        .layers[0]
        .register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1])),
    ]
    output, logits = model.answer(inputs, sample, max_new_tokens=case['max_new_tokens'])
    for hook in hooks:
        hook.remove()
    return {'inputs': inputs, 'sample': sample, 'output': output, 'mask_logits': logits, 'towers': towers, 'lengths': lengths}


def collapsed(ids: Tensor) -> list[int]:
    """Each run of image tokens -> one placeholder, as the original's ids."""
    found = ids.tolist()
    return [token for n, token in enumerate(found) if token != IMAGE_TOKEN_ID or n == 0 or found[n - 1] != IMAGE_TOKEN_ID]


@torch.no_grad()
def step_logits(answered: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Of the logits that chose each new token: the best one's margin and the logsumexp, by their names in evaluate.npz."""
    prompt = answered['inputs']['input_ids'].shape[1]
    logits = model.mllm.language_model.output_embeddings()(answered['output'].hidden_states[prompt - 1 :]).float()
    best = logits.topk(2).values
    found = {'step_logits_top2_margin': best[:, 0] - best[:, 1], 'generated_logits_logsumexp': logits.logsumexp(-1)}
    return {name: values.cpu().numpy() for name, values in found.items()}


def validate(golden: Golden, model: LISA, set_name: str) -> list[SegDataSample]:
    """The samples of a validation set with the model's ``mask_logits``."""
    spec: Any = model.mllm.tokenizer_spec
    pipeline = [
        LoadImage(),
        DecodeMasks(),
        ResizeForVisionTower(model.mllm.preprocess),
        ResizeForMaskDecoder(model.mask_decoder.preprocess),
        EncodeConversations(spec, model.mllm.num_image_tokens(0, 0)),
        PackSegInputs(),
    ]
    dataset: Any = validation_set(golden, set_name, pipeline)
    pad = int(build_tokenizer(**spec).pad_token_id)
    # no workers: this process may hold a GPU, which a forked one cannot use
    loader = DataLoader(dataset, batch_size=2, num_workers=0, collate_fn=partial(seg_collate, pad_token_id=pad))
    samples = []
    with torch.no_grad():
        for batch in loader:
            samples += model.test_step(batch)
    return samples


def image_of(golden: Golden, sample: SegDataSample) -> str:
    """The image of a sample, as the tables name it."""
    return sample.img_path.removeprefix(f'{golden.root / "dataset"}/')


def overlapping(golden: Golden, set_name: str) -> set[str]:
    """Images whose annotations overlap themselves: the original counts 2 there, we clip to 1 (MANIFEST, traps)."""
    items = json.loads((golden.root / 'data' / 'val.json').read_text())['items']
    return {item['image'] for item in items if item['spec'] == set_name and not set(item['masks_values']) <= {0, 1, 255}}
