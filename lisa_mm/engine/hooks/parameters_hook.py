"""Counts a model's parameters and trained parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook
from torch import nn

from lisa_mm.models.base import BaseMLLM
from lisa_mm.registry import HOOKS
from lisa_mm.sharding import full_numel

from ..optimizer import rate_of

if TYPE_CHECKING:
    from lisa_mm.engine.runner import LisaRunner


_LANGUAGE = 'mllm.language_model'
_ORDER = (
    'mllm.vision_tower',
    'mllm.vision_tower (lora)',
    'mllm.projector',
    f'{_LANGUAGE} (base)',
    f'{_LANGUAGE} (lora)',
    f'{_LANGUAGE} (embeddings+head)',
    f'{_LANGUAGE} (new rows)',
    'seg_head',
    'mask_decoder.image_encoder',
    'mask_decoder.image_encoder (lora)',
    'mask_decoder.prompt_encoder',
    'mask_decoder.decoder',
)


@HOOKS.register_module()
class ParametersHook(Hook):
    """Logs the model's parameters, part by part, before training."""

    def before_train(self, runner: LisaRunner) -> None:
        """Log the table."""
        if runner.rank == 0:
            model = getattr(runner.strategy, 'module', runner.model)
            table = parameter_table(model, (getattr(runner, 'cfg', None) or {}).get('optim_wrapper'))
            runner.logger.info(f'parameters of {type(model).__name__}:\n{table}')


def count_parameters(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Count parameters by part; shared ones count once, sharded ones (ZeRO-3) in full.

    Args:
        model: A LISA; for other models, the children are the parts.

    Returns:
        Part -> (parameters, trained parameters), LISA's parts first.
    """
    counts: dict[str, tuple[int, int]] = {}
    for part, _, parameter in _parameters_by_part(model):
        # a parameter sharded by DeepSpeed is empty between uses
        size = full_numel(parameter)
        total, trained = counts.get(part, (0, 0))
        counts[part] = total + size, trained + size * parameter.requires_grad
    known = [part for part in _ORDER if part in counts]
    return {part: counts[part] for part in [*known, *(part for part in counts if part not in known)]}


def learning_rates(model: nn.Module, optim_wrapper: Mapping[str, Any]) -> dict[str, list[float]]:
    """The peak learning rates of trained parameters, by part.

    Args:
        model: See :func:`count_parameters`.
        optim_wrapper: The config's: ``optimizer.lr`` times the ``lr_mult`` of the longest of ``paramwise_cfg.custom_keys`` that
            occurs in a parameter's name, as in mmengine.

    Returns:
        Part -> its rates, ascending.
    """
    rates: dict[str, set[float]] = {}
    for part, name, parameter in _parameters_by_part(model):
        if parameter.requires_grad:
            rates.setdefault(part, set()).add(rate_of(name, optim_wrapper))
    return {part: sorted(values) for part, values in rates.items()}


def _parameters_by_part(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Part, name and parameter, each parameter once."""
    embeddings, decoder = _embedding_ids(model), _whole_decoder_ids(model)
    for name, parameter in model.named_parameters():
        is_embedding = id(parameter) in embeddings
        yield _part_of(_as_parts(name, is_embedding or id(parameter) in decoder), is_embedding), name, parameter


def parameter_table(model: nn.Module, optim_wrapper: Mapping[str, Any] | None = None) -> str:
    """A model's parameters as a text table.

    Args:
        model: See :func:`count_parameters`.
        optim_wrapper: See :func:`learning_rates`; without it the table has no column of rates.

    Returns:
        One line per part (parameters, trained parameters and their share in %, learning rate), and the total.
    """
    counts = count_parameters(model)
    counts['total'] = (sum(total for total, _ in counts.values()), sum(trained for _, trained in counts.values()))
    rows = [('part', 'parameters', 'trainable', '%')]
    for part, (total, trained) in counts.items():
        rows.append((part, f'{total:,}', f'{trained:,}', f'{100 * trained / total if total else 0:.2f}'))
    if optim_wrapper is not None and 'lr' in optim_wrapper.get('optimizer', {}):
        rates = learning_rates(model, optim_wrapper)
        shown = [
            ' to '.join(f'{rate:g}' for rate in (found[:1] + found[1:][-1:]))
            for part in counts
            for found in [rates.get(part, [])]
        ]
        rows = [(*row, rate) for row, rate in zip(rows, ['lr', *shown], strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['  '.join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, len(row)))]) for row in rows]
    rule = '-' * len(lines[0])
    return '\n'.join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _mllm_of(model: nn.Module) -> BaseMLLM | None:
    return next((child for child in model.children() if isinstance(child, BaseMLLM)), None)


def _embedding_ids(model: nn.Module) -> set[int]:
    mllm = _mllm_of(model)
    if mllm is None:
        return set()
    modules = (mllm.input_embeddings(), mllm.output_embeddings())
    return {id(parameter) for module in modules for parameter in module.parameters()}


def _whole_decoder_ids(model: nn.Module) -> set[int]:
    """Ids of the language model's parameters inside a whole multimodal model (``mllm.model``)."""
    mllm = _mllm_of(model)
    if mllm is None or hasattr(mllm, 'language_model'):
        return set()
    return {id(parameter) for parameter in mllm.decoder.parameters()}


def _as_parts(name: str, is_language: bool) -> str:
    """Rename a whole model's parameter as if its parts were separate: ``mllm.model.model.visual.x`` -> ``mllm.visual.x``."""
    if name.startswith('mask_decoder.model.'):
        return _in_mask_decoder(name.removeprefix('mask_decoder.model.'))
    if not name.startswith('mllm.model.'):
        return name
    inner = name.removeprefix('mllm.model.').removeprefix('model.')
    return f'{_LANGUAGE}.{inner}' if is_language else f'mllm.{inner}'


def _in_mask_decoder(name: str) -> str:
    """Rename a parameter of a transformers SAM as in :class:`SAMMaskDecoder`."""
    child, _, rest = name.partition('.')
    parts = {'vision_encoder': 'image_encoder', 'mask_decoder': 'decoder'}
    return f'mask_decoder.{parts.get(child, child)}.{rest}'


def _part_of(name: str, is_embedding: bool) -> str:
    top, *rest = name.split('.')
    if top not in ('mllm', 'mask_decoder') or len(rest) < 2:
        return top
    part = f'{top}.{rest[0]}'
    if '.lora_' in name:
        return f'{part} (lora)'
    if part != _LANGUAGE:
        return part
    if name.endswith('.new_rows'):
        return f'{part} (new rows)'
    return f'{part} (embeddings+head)' if is_embedding else f'{part} (base)'
