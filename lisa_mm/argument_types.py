"""Check that an argument in a config has the type of the class's annotation."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from typing_extensions import is_typeddict

LITERALS = (bool, int, float, str, list, tuple, dict, type(None))  # types that a config can contain; built objects pass


def type_faults(cls: Callable[..., object], arguments: Mapping[str, Any], where: str) -> list[str]:
    """One sentence for each argument whose type differs from its annotation.

    Args:
        cls: The class.
        arguments: The arguments as written.
        where: Path of the part in the config.

    Example:
        >>> def part(width: int): ...
        >>> type_faults(part, {'width': '8'}, 'model.part')
        ["model.part.width is '8', but part takes int. Write 8 without quotes."]
    """
    faults = []
    sources = [c.__init__ for c in cls.__mro__ if '__init__' in vars(c)] if inspect.isclass(cls) else [cls]
    seen: set[str] = set()
    for source in sources:
        try:
            hints = get_type_hints(source)
        except (NameError, TypeError):  # names imported only for type checkers
            continue
        for name, parameter in inspect.signature(source).parameters.items():
            if name in seen or name not in arguments or name not in hints:
                continue
            seen.add(name)
            value, hint = arguments[name], hints[name]
            if parameter.kind is parameter.VAR_KEYWORD or fits(value, hint) or (value is None and parameter.default is None):
                continue
            faults.append(f'{where}.{name} is {value!r}, but {cls.__name__} takes {spelt(hint)}.{unquoted(value, hint)}')
    return faults


def fits(value: object, hint: object) -> bool:
    """Whether a value matches the annotation ``hint``; True if that cannot be judged."""
    if type(value) not in LITERALS and not isinstance(value, dict):
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    kind = origin or hint
    if kind in (int, float, bool, str, type(None), None):
        allowed = {float: (int, float), None: (type(None),)}.get(kind, (kind,))
        return type(value) in allowed
    if inspect.isclass(kind) and issubclass(kind, torch.Tensor):
        return False
    if kind in (dict, Mapping) or is_typeddict(kind):
        return isinstance(value, dict)
    if kind in (list, tuple, Sequence):
        if not isinstance(value, (list, tuple)):
            return False
        if kind is tuple and inner and inner[-1] is not Ellipsis:
            return len(value) == len(inner) and all(fits(item, hint) for item, hint in zip(value, inner, strict=True))
        return not inner or all(fits(item, inner[0]) for item in value)
    return True


def spelt(hint: object) -> str:
    """An annotation in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return ' or '.join(spelt(option) for option in get_args(hint))
    if hint is type(None):
        return 'None'
    return hint.__name__ if inspect.isclass(hint) and not get_args(hint) else str(hint).replace('typing.', '')


def unquoted(value: object, hint: object) -> str:
    """The remedy if only the quotes are wrong."""
    if not isinstance(value, str):
        return ''
    try:
        meant = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return ''
    return f' Write {meant!r} without quotes.' if fits(meant, hint) else ''
