"""How many parameters a model has, and how many are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook
from torch import nn

from lisa_mm.registry import HOOKS

_LANGUAGE = 'mllm.language_model'
_ORDER = (
    'mllm.vision_tower',
    'mllm.projector',
    f'{_LANGUAGE} (base)',
    f'{_LANGUAGE} (lora)',
    f'{_LANGUAGE} (embeddings+head)',
    'seg_head',
    'mask_decoder.image_encoder',
    'mask_decoder.prompt_encoder',
    'mask_decoder.decoder',
)


@HOOKS.register_module()
class ParametersHook(Hook):
    """Logs the model's parameters part by part before training."""

    def before_train(self, runner: Any) -> None:
        """Log the table."""
        if runner.rank == 0:
            model = getattr(runner.strategy, 'module', runner.model)
            runner.logger.info(f'parameters of {type(model).__name__}:\n{parameter_table(model)}')


def count_parameters(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Parameters by part; shared ones count once, sharded ones (ZeRO-3) in full.

    Args:
        model: A LISA; of other models the children are the parts.

    Returns:
        Part -> (parameters, those trained), LISA's parts first.
    """
    counts: dict[str, tuple[int, int]] = {}
    part_of = name_of_part(model)
    for name, parameter in model.named_parameters():
        part = part_of(name, parameter)
        # a parameter sharded by DeepSpeed is empty between its uses
        size = int(getattr(parameter, 'ds_numel', parameter.numel()))
        total, trained = counts.get(part, (0, 0))
        counts[part] = total + size, trained + size * parameter.requires_grad
    known = [part for part in _ORDER if part in counts]
    return {part: counts[part] for part in [*known, *(part for part in counts if part not in known)]}


def name_of_part(model: nn.Module) -> Callable[[str, nn.Parameter], str]:
    """A function that says which part a parameter belongs to, by its name in the model."""
    embeddings, decoder = _embedding_ids(model), _whole_decoder_ids(model)
    language = decoder | embeddings
    return lambda name, parameter: _part_of(_as_parts(name, id(parameter) in language), id(parameter) in embeddings)


def parameter_table(model: nn.Module) -> str:
    """The parameters of a model as a table of text.

    Args:
        model: See :func:`count_parameters`.

    Returns:
        A line a part (parameters, those trained, the latter in % of the former), and the total.
    """
    counts = count_parameters(model)
    counts['total'] = (sum(total for total, _ in counts.values()), sum(trained for _, trained in counts.values()))
    rows = [('part', 'parameters', 'trainable', '%')]
    for part, (total, trained) in counts.items():
        rows.append((part, f'{total:,}', f'{trained:,}', f'{100 * trained / total if total else 0:.2f}'))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ['  '.join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 4))]) for row in rows]
    rule = '-' * len(lines[0])
    return '\n'.join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _embedding_ids(model: nn.Module) -> set[int]:
    mllm = getattr(model, 'mllm', None)
    decoder = getattr(mllm, 'causal_lm', None) or getattr(getattr(mllm, 'language_model', None), 'model', None)
    if not hasattr(decoder, 'get_input_embeddings'):
        return set()
    modules = [decoder.get_input_embeddings(), decoder.get_output_embeddings()]  # type: ignore[union-attr, operator]
    return {id(parameter) for module in modules if module is not None for parameter in module.parameters()}


def _whole_decoder_ids(model: nn.Module) -> set[int]:
    """Parameters of the language model inside a whole multimodal model (``mllm.model``)."""
    mllm = getattr(model, 'mllm', None)
    if not hasattr(mllm, 'causal_lm') or hasattr(mllm, 'language_model'):
        return set()
    return {id(parameter) for parameter in mllm.causal_lm.get_decoder().parameters()}  # type: ignore[union-attr, operator]


def _as_parts(name: str, is_language: bool) -> str:
    """A parameter of a whole model under the names of separate parts: ``mllm.model.model.visual.x`` -> ``mllm.visual.x``."""
    if not name.startswith('mllm.model.'):
        return name
    inner = name.removeprefix('mllm.model.').removeprefix('model.')
    return f'{_LANGUAGE}.{inner}' if is_language else f'mllm.{inner}'


def _part_of(name: str, is_embedding: bool) -> str:
    top, *rest = name.split('.')
    if top not in ('mllm', 'mask_decoder') or len(rest) < 2:
        return top
    part = f'{top}.{rest[0]}'
    if part != _LANGUAGE:
        return part
    if 'lora_' in name:
        return f'{part} (lora)'
    return f'{part} (embeddings+head)' if is_embedding else f'{part} (base)'
