"""Decides what is trained: the only place that sets ``requires_grad``, adds adapters, and keeps modules in eval mode.

Parts declare groups of parameters (:meth:`.base.Part.trainable_groups`); the config decides how each is treated:

==================================  ==================================================================================
group                               settings
==================================  ==================================================================================
``mllm.language_model``             ``model.lora`` (adapters), else ``model.tuning``
``mllm.language_model.embeddings``  ``model.train_embeddings``
``mllm.vision_tower``               ``frozen`` of the part (a whole model: ``vision_frozen``), ``model.lora.vision_tower``
``mask_decoder.image_encoder``      ``frozen`` of the part (``encoder_frozen``), ``model.lora.image_encoder``
any other                           ``frozen`` of the part, or the argument that the group names
==================================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import ConfigError
from .base import Part, TrainableGroup
from .lora import apply_lora, split_lora, train_dropout
from .new_rows import NEW_ROWS, add_new_rows
from .token_ids import new_token_ids

if TYPE_CHECKING:
    from .lisa import LISA

LANGUAGE = 'mllm.language_model'
EMBEDDINGS = f'{LANGUAGE}.embeddings'
PLACES = {'vision_tower': 'mllm.vision_tower', 'image_encoder': 'mask_decoder.image_encoder'}  # key in model.lora -> group
# Outcomes of a group
TRAINED, ADAPTED, ROWS, FROZEN, UNUSED = 'trained', 'LoRA', 'new rows', 'frozen', 'unused, frozen'


def check_tuning(lora: dict[str, Any] | None, tuning: str | None, train_embeddings: bool | str) -> None:
    """Check that ``model.lora``, ``model.tuning`` and ``model.train_embeddings`` agree.

    Raises:
        ConfigError: naming every setting at fault.
    """
    faults = []
    if split_lora(lora)[0] and tuning is not None:
        faults.append(f'model.tuning is {tuning!r} but model.lora is given too: set one of them, tuning for lora=None only.')
    if tuning not in (None, 'full', 'frozen'):
        faults.append(f"model.tuning is {tuning!r}; allowed: 'full', 'frozen' (with lora=None).")
    if not isinstance(train_embeddings, bool) and train_embeddings != NEW_ROWS:
        faults.append(f'model.train_embeddings is {train_embeddings!r}; allowed: True, False, {NEW_ROWS!r}.')
    if faults:
        raise ConfigError(faults)


def resolve(
    model: LISA,
    *,
    lora: dict[str, Any] | None = None,
    tuning: str | None = None,
    train_embeddings: bool | str = True,
) -> dict[str, str]:
    """Set what is trained in a built model: ``requires_grad``, adapters, new embedding rows.

    Weights may be loaded before or afterwards; adapters that start from them (DoRA, PiSSA) need them before, or
    :func:`.lora.refresh_adapters` afterwards. Repeated calls are allowed while there are no adapters and no new rows.

    Args:
        model: Changed in place; ``model.trainable_groups()`` lists the groups.
        lora, tuning, train_embeddings: See :class:`.lisa.LISA`.

    Returns:
        Group -> outcome: ``'trained'``, ``'LoRA'``, ``'new rows'``, ``'frozen'`` or ``'unused, frozen'``.

    Raises:
        ConfigError: for contradictory settings, and for adapters that have no layers.
    """
    check_tuning(lora, tuning, train_embeddings)
    groups = flatten(model.trainable_groups())
    own, others = split_lora(lora)
    adapters = {**({LANGUAGE: own} if own else {}), **{PLACES[place]: arguments for place, arguments in others.items()}}
    faults = [
        *_language_faults(model, groups, tuning, train_embeddings),
        *(fault for place in others for fault in _place_faults(model, groups, place)),
    ]
    if faults:
        raise ConfigError(faults)
    outcomes = {
        name: _outcome(name, group, adapted=name in adapters, tuning=tuning, train_embeddings=train_embeddings)
        for name, group in groups.items()
    }

    # Own weights
    owned = list(owned_parameters(groups))
    for name, parameter in owned:
        parameter.requires_grad_(outcomes[name] == TRAINED)

    # Adapters, only in the layers of their groups
    for name, arguments in adapters.items():
        place = next((place for place, group in PLACES.items() if group == name), None)
        apply_lora(
            _place_of_adapters(groups[name]),
            arguments,
            where=f'model.lora.{place}' if place else 'model.lora',
            what=f'the {(place or "language_model").replace("_", " ")}',
            skip=[parameter for owner, parameter in owned if owner != name],
        )
    # peft freezes everything in the same module, such as embeddings among the language model's layers
    for name, parameter in owned:
        if outcomes[name] == TRAINED:
            parameter.requires_grad_(True)

    if train_embeddings == NEW_ROWS:
        add_new_rows(model.mllm.input_embeddings(), model.mllm.output_embeddings(), new_token_ids(model.mllm))
    return outcomes


def set_mode(model: LISA, outcomes: Mapping[str, str], mode: bool) -> None:
    """Set every group's mode: groups with nothing to train stay in eval mode, except for their adapters' dropout.

    Args:
        model: The model, already entirely in the requested mode.
        outcomes: The result of :func:`resolve`.
        mode: True for training.
    """
    for name, group in flatten(model.trainable_groups()).items():
        outcome = outcomes[name]
        if outcome == UNUSED:
            continue  # it keeps the mode of the enclosing module
        # under LoRA the language model follows the mode: its layers recompute activations in train mode only
        follows = outcome in (TRAINED, ROWS) or (outcome == ADAPTED and name == LANGUAGE)
        for member in group.members:
            if isinstance(member, nn.Module):
                member.train(mode and follows)
    train_dropout(model, mode)


def flatten(groups: Mapping[str, TrainableGroup | Part], prefix: str = '') -> dict[str, TrainableGroup]:
    """All groups, those of nested parts included, by full name; ``key`` becomes the path in the config."""
    found: dict[str, TrainableGroup] = {}
    for name, group in groups.items():
        whole = '.'.join(filter(None, (prefix, name)))
        if isinstance(group, Part):
            found |= flatten(group.trainable_groups(), whole)
        else:
            found[whole] = replace(group, key='.'.join(filter(None, ('model', prefix, group.key))))
    return found


def owned_parameters(groups: Mapping[str, TrainableGroup]) -> Iterator[tuple[str, nn.Parameter]]:
    """Each parameter once, with the last group that holds it."""
    owners: dict[int, tuple[str, nn.Parameter]] = {}
    for name, group in groups.items():
        for member in group.members:
            for parameter in [member] if isinstance(member, nn.Parameter) else member.parameters():
                owners[id(parameter)] = (name, parameter)
    yield from owners.values()


def _outcome(name: str, group: TrainableGroup, *, adapted: bool, tuning: str | None, train_embeddings: bool | str) -> str:
    if group.unused:
        return UNUSED
    if adapted:
        return ADAPTED
    if name == LANGUAGE:
        return TRAINED if tuning == 'full' else FROZEN
    if name == EMBEDDINGS:
        return ROWS if train_embeddings == NEW_ROWS else TRAINED if train_embeddings else FROZEN
    return FROZEN if group.frozen else TRAINED


def _language_faults(
    model: LISA, groups: Mapping[str, TrainableGroup], tuning: str | None, train_embeddings: bool | str
) -> Iterator[str]:
    for name in (LANGUAGE, EMBEDDINGS):
        if name not in groups:
            yield (
                f'model.mllm: {type(model.mllm).__name__} declares no group {name.removeprefix("mllm.")!r} in trainable_groups '
                f'(found: {", ".join(key for key in groups if key.startswith("mllm")) or "none"}), to which model.lora, '
                'model.tuning and model.train_embeddings apply. Declare it there.'
            )
            return
    language, embeddings = groups[LANGUAGE], groups[EMBEDDINGS]
    if tuning == 'full' and language.quantized:
        yield "model.tuning='full' cannot train quantised weights. Give model.lora, or leave out quantization."
    if tuning == 'full' and language.frozen:
        yield f"{language.key}=True, but model.tuning='full' trains its weights. Leave out one of the two."
    if train_embeddings and embeddings.frozen:
        yield (
            f'{embeddings.key}=True, but model.train_embeddings={train_embeddings!r} trains its token embeddings and output '
            'head. Set model.train_embeddings=False, or leave frozen out.'
        )


def _place_faults(model: LISA, groups: Mapping[str, TrainableGroup], place: str) -> Iterator[str]:
    where, group = f'model.lora.{place}', groups.get(PLACES[place])
    if group is None or _place_of_adapters(group) is None:
        part: Any = getattr(model, PLACES[place].partition('.')[0])
        yield f'{where}: {type(part).__name__} has no {place.replace("_", " ")} that takes adapters. Leave it out.'
    elif not group.frozen:
        yield f'{where}: this part is trained itself ({group.key}=False). Leave out one of the two.'


def _place_of_adapters(group: TrainableGroup) -> Any:
    """The module that gets adapters, or None."""
    if group.adapters is not None or len(group.members) != 1 or isinstance(group.members[0], nn.Parameter):
        return group.adapters
    return group.members[0]


@dataclass(frozen=True)
class TunedGroup:
    """A row of the table of trained parameters.

    Args:
        name: Name of the group.
        outcome: How the group is treated.
        trained: Number of trained parameters, adapters included.
        total: Number of all its parameters; shared ones count once, in the first group that has them.
    """

    name: str
    outcome: str
    trained: int
    total: int


def tuned_groups(model: LISA) -> list[TunedGroup]:
    """Every parameter of a model once, by group; parameters outside all groups go under their module's name."""
    owners = {id(parameter): name for name, parameter in owned_parameters(flatten(model.trainable_groups()))}
    counts: dict[str, list[int]] = {name: [0, 0] for name in model.tuned}
    for name, parameter in model.named_parameters():
        count = counts.setdefault(owners.get(id(parameter), name.partition('.')[0]), [0, 0])
        size = int(getattr(parameter, 'ds_numel', parameter.numel()))  # the parameter is empty between its uses under ZeRO-3
        count[0] += size * parameter.requires_grad
        count[1] += size
    return [
        TunedGroup(name, model.tuned.get(name, TRAINED if trained else FROZEN), trained, total)
        for name, (trained, total) in counts.items()
        if total
    ]


def tuning_table(rows: Iterable[TunedGroup]) -> str:
    """The groups as a text table, with the sum."""
    rows = list(rows)
    lines = [('part', '', 'trained', 'parameters')]
    lines += [(row.name, row.outcome, f'{row.trained:,}', f'{row.total:,}') for row in rows]
    lines.append(('all', '', f'{sum(row.trained for row in rows):,}', f'{sum(row.total for row in rows):,}'))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return '\n'.join(
        f'{name:{widths[0]}s}  {outcome:{widths[1]}s}  {trained:>{widths[2]}s}  {total:>{widths[3]}s}'
        for name, outcome, trained, total in lines
    )
