"""The whole model of a training that began from an exported folder, read tensor by tensor: it is never in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..errors import CheckpointError
from ..models import LISA
from ..models.lora import merged_weight
from ..models.new_rows import has_new_rows, merge_new_rows
from ..models.token_ids import new_token_ids
from .comparing import first_names, frozen_faults, trained_faults
from .folder import FROZEN, describe_tensor, open_weights
from .keys import is_adapter, without_adapters
from .sources import TensorInfo, WeightFiles, read_json

Merge = Callable[[Tensor], Tensor]


def merges(model: LISA) -> dict[str, Merge]:
    """By our names: what adds adapters or new tokens' rows to a weight.

    Raises:
        CheckpointError: for a quantised language model.
    """
    if model.mllm.quantization is not None:
        raise CheckpointError(
            'the language model is quantised: adapters cannot be merged into its weights without a loss. Train without '
            'model.mllm.language_model.quantization to export.'
        )
    found: dict[str, Merge] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            found[without_adapters(f'{name}.weight')] = partial(merged_weight, module)
        elif has_new_rows(module):
            found[without_adapters(f'{name}.weight')] = partial(merge_new_rows, module)
    return found


class StreamedModel:
    """A :class:`.sources.TensorSource` of a checkpoint and the folder that its training began from.

    Args:
        model: The model on the meta device.
        start: The folder that the training began from.
        folder: The checkpoint.

    Raises:
        CheckpointError: if the checkpoint does not fit the model; :meth:`read` also for a frozen tensor that is another one
            than the training had.
    """

    def __init__(self, model: LISA, start: WeightFiles, folder: Path):
        self._folder, self._start, self._weights = folder, start, open_weights(folder)
        self._frozen = read_json(folder / FROZEN)
        self._names = {without_adapters(name): name for name in model.state_dict() if not is_adapter(name)}
        own = model.state_dict()
        faults = trained_faults({name: own[name] for name in own if name not in self._frozen}, self._weights.info)
        unknown = sorted(self._frozen.keys() - own.keys())
        if unknown:
            faults.append(f'the training had {len(unknown)} frozen tensors that the model has not: {first_names(unknown)}')
        if faults:
            raise CheckpointError(f'{folder} does not fit the model:\n' + '\n'.join(f'- {fault}' for fault in faults))
        self.info = {name: TensorInfo(tuple(own[full].shape), own[full].dtype) for name, full in self._names.items()}
        self._layers = dict(model.named_modules())
        self._read_beside(model)
        self._merge = merges(model)

    def _read_beside(self, model: LISA) -> None:
        """Give the small tensors beside the weights their values."""
        for name in model.state_dict():
            if is_adapter(name):
                module, _, leaf = name.rpartition('.')
                value = nn.Parameter(self._weights.read(name).clone(), requires_grad=False)
                self._layers[module]._parameters[leaf] = value
        for module in self._layers.values():
            if has_new_rows(module):
                module.new_row_ids = torch.tensor(new_token_ids(model.mllm))

    def read(self, name: str) -> Tensor:
        """One tensor, with its adapter or new rows merged."""
        full = self._names[name]
        if full in self._weights.info:
            value = self._weights.read(full).to(self.info[name].dtype)
        else:
            value = self._start.read(name).to(self.info[name].dtype)
            faults = frozen_faults({full: describe_tensor(value)}, {full: self._frozen[full]})
            if faults:
                raise CheckpointError(f'{self._folder} does not fit {self._start.path}: {faults[0]}')
        merge = self._merge.get(name)
        if merge is None:
            return value
        # DoRA reads the layer's own weight too
        layer, _, leaf = full.rpartition('.')
        before = self._layers[layer]._parameters[leaf]
        self._layers[layer]._parameters[leaf] = nn.Parameter(value, requires_grad=False)
        try:
            return merge(value).detach()
        finally:
            self._layers[layer]._parameters[leaf] = before


def can_stream(model: LISA, start: WeightFiles, folder: Path) -> bool:
    """Whether the two hold every tensor of the model as it is; without that, weights follow from building the model.

    Args:
        model: The model on the meta device.
        start: The folder that the training began from.
        folder: The checkpoint.
    """
    weights = open_weights(folder)
    for name, value in model.state_dict().items():
        inside = start.info.get(without_adapters(name))
        if name not in weights.info and (is_adapter(name) or inside is None or inside.shape != tuple(value.shape)):
            return False
    return True
