"""The golden training batches, answers and validation sets on a device: float32 is judged, other formats are reported."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.stages.cases import report
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.engine.device import set_tf32
from lisa_mm.evaluation.seg_iou import intersection_and_union, summarise
from tests.parity.answers import (
    NEAR,
    answer_case,
    collapsed,
    image_of,
    overlapping,
    read_evaluation,
    step_logits,
    validate,
)
from tests.parity.golden import Golden, batch_of, build_model, our_name

GOLDEN = Path(__file__).resolve().parents[3] / 'tests' / 'golden'
# deviations allowed for float32
TRAINING = {
    'losses (relative)': 1e-4,
    'gradient norm, all tensors together (relative)': 1e-4,
    'gradient norm, worst tensor (relative)': 1e-4,
    'mask logits': 1e-3,
}
GENERATION = {'generation, step logits': 1e-4, 'generation, mask logits': 1e-3}
VALIDATION = {'validation, gIoU': 1e-6, 'validation, cIoU': 1e-6}

Found = dict[str, list[float]]


def worst(values: Iterable[float]) -> float:
    """The largest deviation; NaN if one is NaN, or if nothing was compared."""
    values = list(values)
    return math.nan if not values or any(map(math.isnan, values)) else max(values)


def largest(ours: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of two arrays; infinite if their shapes differ."""
    return float(np.abs(ours - wanted).max()) if ours.shape == wanted.shape else math.inf


def training_batch(arrays: dict[str, np.ndarray], case: dict[str, Any], model: Any) -> Found:
    """Compare losses, gradient norms and mask logits of a batch.

    Args:
        arrays: The inputs, and the masks.
        case: The original's other numbers.
        model: The training model.
    """
    inputs, samples = batch_of(arrays, model.mllm.num_image_tokens(0, 0))
    weight = next(model.parameters())
    inputs = {k: v.to(weight.device, weight.dtype if v.is_floating_point() else None) for k, v in inputs.items()}
    samples = [sample.to(weight.device) for sample in samples]
    model.train().zero_grad()
    losses = model(inputs, samples, mode='loss')
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    norms = {name: float(p.grad.double().norm()) for name, p in model.named_parameters() if p.grad is not None}
    all_together = math.hypot(*norms.values())
    own, scale = set(model.state_dict()), case['grad_norm_groups']['all']
    with torch.no_grad():
        masks = model(inputs, samples, mode='tensor')['mask_logits']
    wanted = [arrays[f'out_pred_masks_{i}'] for i in range(len(masks))]
    return {
        'losses (relative)': [abs(float(total.detach()) - case['losses']['loss']) / case['losses']['loss']],
        'gradient norm, all tensors together (relative)': [abs(all_together - scale) / scale],
        'gradient norm, worst tensor (relative)': [
            abs(norms.get(our_name(name, own), 0.0) - norm) / norm
            for name, norm in case['grad_norms'].items()
            if norm and norm > 1e-7 * scale  # smaller gradients are rounding errors
        ],
        'mask logits': [largest(m.float().cpu().numpy(), w) for m, w in zip(masks, wanted, strict=True) if w.size],
    }


def answered_case(golden: Golden, case: dict[str, Any], arrays: dict[str, np.ndarray], model: Any, tokenizer: Any) -> Found:
    """Compare ids (``differing ids``: how many), step logits and mask logits of a generated answer.

    If ids differ, logits are compared up to the first different id, and masks are not compared.
    """
    name = case['name']
    got = answer_case(golden, case, model, tokenizer)
    ids, wanted = collapsed(got['output'].ids), arrays[f'{name}:output_ids'][0].tolist()
    differing = sum(a != b for a, b in zip(ids, wanted, strict=False)) + abs(len(ids) - len(wanted))
    equal = next((n for n, (a, b) in enumerate(zip(ids, wanted, strict=False)) if a != b), min(len(ids), len(wanted)))
    prompt = arrays[f'{name}:input_ids'].shape[1]
    steps = min(equal + 1, len(ids), len(wanted)) - prompt  # the first different token was chosen after equal ones
    found: Found = {
        'differing ids': [float(differing)],
        'generation, step logits': [
            largest(ours[:steps], arrays[f'{name}:{key}'][:steps]) for key, ours in step_logits(got, model).items()
        ],
    }
    if not differing and case['num_masks']:
        found['generation, mask logits'] = [largest(got['mask_logits'].float().cpu().numpy(), arrays[f'{name}:pred_masks'])]
    return found


def validated_set(
    golden: Golden, set_name: str, wanted: dict[str, Any], arrays: dict[str, np.ndarray], model: Any, near: float
) -> Found:
    """Compare gIoU and cIoU of a validation set.

    Args:
        golden: The golden folder, with the images.
        set_name: A key of the table's ``validation``.
        wanted: The set's numbers in the table.
        arrays: The original's masks.
        model: The merged model in eval mode.
        near: A pixel whose logit is closer to 0 counts as the original's; differing ones count as ``pixels near 0``.
    """
    ours, theirs, doubtful, finite = [], [], 0, True
    for sample in validate(golden, model, set_name):
        logits = sample.mask_logits
        finite = finite and bool(logits.isfinite().all())
        masks = torch.from_numpy(arrays[f'val:{set_name}:{image_of(golden, sample)}']).to(logits.device)
        doubt = ((logits > 0) != masks) & (logits.abs() < near)
        doubtful += int(doubt.sum())
        ours += intersection_and_union(torch.where(doubt, masks, logits > 0), sample.gt_masks)
        theirs += intersection_and_union(masks, sample.gt_masks)
    # the original counts overlapping annotations twice; here its masks are counted as ours
    scores, reference = summarise(ours), summarise(theirs)
    if not overlapping(golden, set_name):
        reference = {'gIoU': wanted['giou'], 'cIoU': wanted['ciou']}
    return {
        'pixels near 0': [float(doubtful)],
        **{f'validation, {key}': [abs(scores[key] - value) if finite else math.nan] for key, value in reference.items()},
    }


def pooled(parts: Iterable[Found]) -> Found:
    """All values by name."""
    found: Found = {}
    for part in parts:
        for key, values in part.items():
            found.setdefault(key, []).extend(values)
    return found


def write_rows(
    task: dict[str, Any], title: str, found: Found, allowed: dict[str, float], *, judged: bool, note: str = ''
) -> None:
    """Append a row for each allowed deviation."""
    for key, limit in allowed.items():
        deviation = worst(found.get(key, []))
        row = {'case': f'{title}: {key}', 'value': f'{deviation:.2e}', 'status': 'reported'}
        if judged:
            row |= {'allowed': f'{limit:g}', 'status': 'holds' if deviation <= limit else 'DOES NOT HOLD'}
        report(task, **row, **({'note': note} if note else {}))


class Reference:
    """The golden folder, read once, and its models in float32 on the CPU.

    Args:
        small: Use only one batch, two answers and two validation sets.
    """

    def __init__(self, small: bool) -> None:
        self.golden = Golden(GOLDEN, json.loads((GOLDEN / 'train_forward.json').read_text()))
        table, self.arrays = read_evaluation(self.golden)
        names = [name for name, case in self.golden.cases.items() if isinstance(case, dict) and 'losses' in case]
        self.batches = {name: self.golden.arrays(name) for name in names[: 1 if small else None]}
        self.cases = table['cases'][: 2 if small else None]
        self.sets = dict(list(table['validation'].items())[: 2 if small else None])
        self.models = {'training': build_model(self.golden), 'merged': build_model(self.golden, merged=True).eval()}

    def model(self, name: str, dtype: torch.dtype, device: str) -> Any:
        """A copy of a model."""
        return copy.deepcopy(self.models[name]).to(dtype).to(device)


def train(reference: Reference, task: dict[str, Any], title: str, model: Any, *, judged: bool) -> None:
    """Write the rows of the training batches."""
    found = pooled(training_batch(arrays, reference.golden.cases[name], model) for name, arrays in reference.batches.items())
    write_rows(task, title, found, TRAINING, judged=judged)


def answer(reference: Reference, task: dict[str, Any], title: str, model: Any, *, judged: bool) -> None:
    """Write the rows of the generated answers."""
    tokenizer = build_tokenizer(**model.mllm.tokenizer_spec)
    found = pooled(answered_case(reference.golden, case, reference.arrays, model, tokenizer) for case in reference.cases)
    equal, cases = found['differing ids'].count(0), len(reference.cases)
    row = {'case': f'{title}: generated ids', 'value': f'{equal} of {cases} cases equal', 'status': 'reported'}
    if judged:
        row |= {'allowed': 'all equal', 'status': 'holds' if equal == cases else 'DOES NOT HOLD'}
    report(task, **row)
    note = '' if equal == cases else 'logits up to the first token that differs, masks of the cases with equal ids'
    write_rows(task, title, found, GENERATION, judged=judged, note=note)


def evaluate(reference: Reference, task: dict[str, Any], title: str, model: Any, *, judged: bool) -> None:
    """Write the rows of the validation sets."""
    near = NEAR if judged else 0.0
    found = pooled(
        validated_set(reference.golden, name, wanted, reference.arrays, model, near) for name, wanted in reference.sets.items()
    )
    note = f'{len(reference.sets)} sets'
    if judged:
        note += f'; {sum(found["pixels near 0"]):.0f} pixels with a logit within {NEAR:g} of 0 differ and count as equal'
    write_rows(task, title, found, VALIDATION, judged=judged, note=note)


def main(task: dict[str, Any]) -> None:
    """Write the rows of each number format and TF32 setting."""
    on_gpu = task['device'] == 'cuda'
    reference = Reference(task['small'])
    # answers and validation sets too, for the formats that users run
    formats = [('float32', torch.float32, False, True), ('bfloat16', torch.bfloat16, False, on_gpu)]
    if on_gpu:
        formats += [('float16', torch.float16, False, False), ('float32 with TF32', torch.float32, True, False)]
    for title, dtype, tf32, whole in formats:
        set_tf32(tf32)
        judged = title == 'float32'
        train(reference, task, title, reference.model('training', dtype, task['device']), judged=judged)
        if whole:
            merged = reference.model('merged', dtype, task['device'])
            answer(reference, task, title, merged, judged=judged)
            evaluate(reference, task, title, merged, judged=judged)


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
