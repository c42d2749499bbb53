"""The golden training batches on a device: losses, gradient norms, mask logits; float32 judged, half precision reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lisa_mm.engine.device import set_tf32
from lisa_mm.models import LISA
from tests.parity.golden import Golden, batch_of, build_model, our_name

GOLDEN = Path(__file__).resolve().parents[3] / 'tests' / 'golden'
ALLOWED = {'losses (relative)': 1e-4, 'gradient norms (relative)': 1e-4, 'mask logits': 1e-3}


def deviations(golden: Golden, model: LISA, name: str, device: str) -> dict[str, float]:
    """Largest deviations of a batch from the original's numbers."""
    arrays, case = golden.arrays(name), golden.cases[name]
    inputs, samples = batch_of(arrays, model.mllm.num_image_tokens(0, 0))
    dtype = next(model.parameters()).dtype
    inputs = {k: v.to(device, dtype) if v.is_floating_point() else v.to(device) for k, v in inputs.items()}
    samples = [sample.to(device) for sample in samples]
    model.train().zero_grad()
    losses: dict[str, torch.Tensor] = model(inputs, samples, mode='loss')  # type: ignore[assignment]
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    own, scale = set(model.state_dict()), case['grad_norm_groups']['all']
    parameters = dict(model.named_parameters())
    norms = [
        abs(float(_gradient(parameters[our_name(key, own)]).double().norm()) - norm) / norm
        for key, norm in case['grad_norms'].items()
        if norm and norm > 1e-7 * scale  # below, a gradient is rounding
    ]
    with torch.no_grad():
        masks: list[torch.Tensor] = model(inputs, samples, mode='tensor')['mask_logits']  # type: ignore[call-overload]
    wanted = [arrays[f'out_pred_masks_{i}'] for i in range(len(masks))]
    logits = [float(np.abs(m.float().cpu().numpy() - w).max()) for m, w in zip(masks, wanted, strict=True) if w.size]
    return {
        'losses (relative)': abs(float(total.detach()) - case['losses']['loss']) / case['losses']['loss'],
        'gradient norms (relative)': max(norms),
        'mask logits': max(logits, default=0.0),
    }


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def main(task: dict[str, Any]) -> None:
    """Write a row for each number format and TF32 setting."""
    golden = Golden(GOLDEN, json.loads((GOLDEN / 'train_forward.json').read_text()))
    batches = [k for k, v in golden.cases.items() if isinstance(v, dict) and 'losses' in v]
    device = task['device']
    formats = [('float32', torch.float32, False), ('bfloat16', torch.bfloat16, False)]
    if device == 'cuda':
        formats += [('float16', torch.float16, False), ('float32 with TF32', torch.float32, True)]
    for title, dtype, tf32 in formats:
        set_tf32(tf32)
        model: LISA = build_model(golden).to(dtype).to(device)  # type: ignore[assignment]
        chosen = batches[:1] if task['small'] else batches
        found = [deviations(golden, model, name, device) for name in chosen]
        for key, allowed in ALLOWED.items():
            worst = max((values[key] for values in found), key=lambda value: (value != value, value))  # NaN is the worst
            row = {'case': f'{title}: {key}', 'value': f'{worst:.2e}', 'status': 'reported'}
            if title == 'float32':
                row |= {'allowed': f'{allowed:g}', 'status': 'holds' if worst <= allowed else 'DOES NOT HOLD'}
            with open(task['rows'], 'a', encoding='utf-8') as file:
                file.write(json.dumps(row) + '\n')


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
