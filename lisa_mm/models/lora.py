"""LoRA: adapters in the language model and, if configured, in the vision tower and the image encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_target_module_exists
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError, nearest
from ..sharding import is_sharded

ADAPTER = 'default'  # peft's name of the only adapter
PLACES = ('vision_tower', 'image_encoder')  # further dicts inside model.lora
ALL_LINEAR = 'all-linear'
# Arguments of LoraConfig that training, checkpoints and export support
TAKEN = (
    'r',
    'lora_alpha',
    'lora_dropout',
    'target_modules',
    'exclude_modules',
    'layers_to_transform',
    'layers_pattern',
    'rank_pattern',
    'alpha_pattern',
    'bias',
    'init_lora_weights',
    'use_rslora',
    'use_dora',
    'task_type',
)
ELSEWHERE = {
    'modules_to_save': 'set model.train_embeddings for embeddings and head',
    'trainable_token_indices': "set model.train_embeddings='new_rows'",
    'inference_mode': 'a model in eval mode trains nothing',
}
INITIALISATIONS = "True, 'gaussian', 'pissa', 'pissa_niter_N'"


def split_lora(lora: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """``model.lora`` -> arguments for the language model's adapters (may be empty), and those for other parts by name."""
    lora = dict(lora or {})
    others = {place: dict(lora.pop(place)) for place in PLACES if lora.get(place) is not None}
    return {key: value for key, value in lora.items() if key not in PLACES}, others


def begins_from_weights(lora: dict[str, Any] | None) -> bool:
    """Whether adapters are calculated from the weights (DoRA, PiSSA), which must be exact for it."""
    own, others = split_lora(lora)
    return any(given.get('use_dora') or _is_pissa(given.get('init_lora_weights')) for given in (own, *others.values()))


def apply_lora(
    module: nn.Module,
    lora: dict[str, Any],
    *,
    where: str = 'model.lora',
    what: str = 'the language model',
    skip: Iterable[nn.Parameter] = (),
) -> list[str]:
    """Put adapters into linear layers and freeze everything else in the module.

    Args:
        module: The module to adapt, in place.
        lora: Arguments of ``peft.LoraConfig``: ``r``, ``lora_alpha``, ``lora_dropout``, ``target_modules``, ... Targets are a
            list of names, ``'all-linear'``, or a regular expression that matches the whole name in ``module``.
        where: Path of ``lora`` in the config.
        what: Name of ``module`` in errors.
        skip: Weights whose layers get no adapters, such as layers after the one that gives the features.

    Returns:
        Names of the adapted layers in ``module``.

    Raises:
        ConfigError: for an unsupported argument, or targets that match no linear layer.
    """
    config = _checked(lora, where)
    skipped = {id(parameter) for parameter in skip}
    linear = {
        name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear) and id(layer.weight) not in skipped
    }
    if _is_pissa(config.init_lora_weights) and any(map(is_sharded, linear.values())):
        raise ConfigError(
            f'{where}: PiSSA begins from whole weights, which ZeRO-3 has in pieces. Take ZeRO stage 2, or plain LoRA.'
        )
    config.target_modules = _targets(config, module, linear, where, what)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None  # resolved
    inject_adapter_in_model(config, module, adapter_name=ADAPTER)
    adapted = [name for name, layer in module.named_modules() if isinstance(layer, LoraLayer)]
    if getattr(module, 'is_loaded_in_4bit', False):
        for layer in map(module.get_submodule, adapted):
            for adapters in (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector):
                adapters.float()  # peft gives them the compute dtype, in which small steps round to nothing
    if _is_pissa(config.init_lora_weights):
        for layer in map(module.get_submodule, adapted):
            layer.pissa = config.init_lora_weights  # pyright: ignore[reportArgumentType] - torch types attributes as tensors
            # checkpoints must hold the rest of W
            layer.from_file = False  # pyright: ignore[reportArgumentType] - as above
    return adapted


def _checked(lora: dict[str, Any], where: str) -> LoraConfig:
    """The arguments as peft's config."""
    fields = set(LoraConfig.__dataclass_fields__)
    faults = []
    for key in lora:
        if key not in fields:
            faults.append(f'{where} has no {key!r}.{nearest(key, (*TAKEN, *PLACES))}')
        elif key not in TAKEN:
            reason = ELSEWHERE.get(key, 'checkpoints and export would not know its effect')
            faults.append(f'{where}.{key} is not taken: {reason}. Allowed: {", ".join(TAKEN)}.')
    if not lora.get('target_modules'):
        faults.append(f"{where}.target_modules is missing, e.g. ['q_proj', 'v_proj'] or 'all-linear'.")
    rank, dropout, init = lora.get('r', 8), lora.get('lora_dropout', 0.0), lora.get('init_lora_weights', True)
    if type(rank) is not int or rank < 1:
        faults.append(f'{where}.r is {rank!r}; the rank is a whole number of at least 1, e.g. 8.')
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        faults.append(f'{where}.lora_dropout is {dropout!r}; allowed: from 0 to below 1, e.g. 0.05.')
    if not (init is True or init == 'gaussian' or _is_pissa(init)):
        faults.append(
            f'{where}.init_lora_weights is {init!r}; allowed: {INITIALISATIONS} (others need data, or do not begin at zero).'
        )
    if lora.get('use_dora') and _is_pissa(init):
        faults.append(f"{where}: use_dora and init_lora_weights={init!r} don't go together. Leave one out.")
    if faults:
        raise ConfigError(faults)
    targets = lora['target_modules']
    try:
        return LoraConfig(**{**lora, 'target_modules': targets if isinstance(targets, str) else list(targets)})
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{where}: {error}') from error


def _targets(config: LoraConfig, module: nn.Module, linear: dict[str, nn.Linear], where: str, what: str) -> str:
    """A regular expression that matches exactly the layers to adapt."""
    short = sorted({name.rsplit('.', 1)[-1] for name in linear})
    there = f'Linear layers of {what}: {", ".join(short) or "none"}.'
    targets: Any = config.target_modules
    if targets == ALL_LINEAR:
        config.target_modules = set(linear)  # pyright: ignore[reportAttributeAccessIssue] - peft makes a set of a list
    elif isinstance(targets, (set, list)):
        names = [name for name, _ in module.named_modules()]
        unmatched = sorted(t for t in targets if not any(name == t or name.endswith(f'.{t}') for name in names))
        if unmatched:
            hints = ''.join(nearest(name, short) for name in unmatched[:1] if short)
            match = 'match no layer' if len(unmatched) > 1 else 'matches no layer'
            shown = ', '.join(map(repr, unmatched))
            raise ConfigError(
                f"{where}.target_modules: {shown} {match} of {what}.{hints} {there} 'all-linear' takes all of them."
            )
    try:  # peft decides which names match: exclude_modules and layers_to_transform count too
        found = [name for name, _ in module.named_modules() if name and check_target_module_exists(config, name)]
    except re.error as error:
        raise ConfigError(f'{where}.target_modules={targets!r} is no regular expression: {error}.') from error
    other = [name for name in found if not isinstance(module.get_submodule(name), nn.Linear)]
    if other:
        kind = type(module.get_submodule(other[0])).__name__
        raise ConfigError(f'{where}.target_modules: {other[0]} is a {kind}; adapters go into linear layers. {there}')
    found = [name for name in found if name in linear]
    if not found:
        raise ConfigError(f'{where}.target_modules={targets!r} matches no layer of {what}. {there}')
    return '|'.join(map(re.escape, found))


def _is_pissa(init: object) -> bool:
    return isinstance(init, str) and (init == 'pissa' or init.removeprefix('pissa_niter_').isdecimal())


def train_dropout(model: nn.Module, mode: bool) -> None:
    """Set the mode of the adapters' dropout, which follows ``train()`` even in parts that stay in eval mode."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_dropout.train(mode)


def merged_weight(layer: Any, weight: Tensor) -> Tensor:
    """An adapted layer's weight with the adapter merged in, as peft does: W + alpha / r * B A, or DoRA's rescaled weight."""
    variant = layer.lora_variant.get(ADAPTER)
    if variant is not None:
        return variant.merge_safe(layer, ADAPTER, weight.detach())
    return (weight.detach().float() + layer.get_delta_weight(ADAPTER).detach().float()).to(weight.dtype)


def refresh_adapters(model: nn.Module) -> None:
    """Recompute what fresh adapters derived from the base weights, after other weights were loaded.

    DoRA's magnitudes are norms of W, and PiSSA's adapters are a part of it; plain adapters start at zero for any W.

    Raises:
        CheckpointError: for such adapters under ZeRO-3, which shards the weights.
    """
    layers: list[tuple[str, Any]] = [item for item in model.named_modules() if isinstance(item[1], LoraLayer)]
    for name, layer in layers:
        pissa = hasattr(layer, 'pissa')
        if not pissa and ADAPTER not in layer.lora_variant:
            continue
        if is_sharded(layer):
            raise CheckpointError(
                f'{name}: DoRA and PiSSA begin from whole weights, which ZeRO-3 has in pieces. Take ZeRO stage 2, or plain LoRA.'
            )
        base = layer.get_base_layer().weight
        with torch.no_grad():
            if not pissa:
                norm = torch.linalg.norm(base + layer.get_delta_weight(ADAPTER), dim=1)
                layer.lora_magnitude_vector[ADAPTER].weight.copy_(norm)
                continue
            changed = [base, layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight]
            memory = [parameter.data for parameter in changed]  # an optimizer's buffer may hold it: keep the memory
            layer.pissa_init(ADAPTER, layer.pissa)
            for parameter, values in zip(changed, memory, strict=True):
                values.copy_(parameter.data)
                parameter.data = values
