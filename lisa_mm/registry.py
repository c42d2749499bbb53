"""The registries, one per role, so that a part in the wrong place is an error rather than a surprise.

Our own roles have no parent: a part is found only where it belongs. The others are children of mmengine's (or mmcv's), so
everything registered there works here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from .argument_types import type_faults
from .errors import ConfigError, nearest

AnyBase = TypeVar('AnyBase')


class RoleRegistry(Registry):
    """A registry of one role: builds only parts that are registered under their name and derive from ``base``.

    mmengine's registry resolves any dotted path and searches other scopes; here an unknown name, a part of another role and a
    misspelt argument each raise one :class:`ConfigError`.

    Args:
        role: Name of the role in errors, e.g. ``'projector'``.
        location: The module that registers the built-in parts.
    """

    def __init__(self, role: str, *, location: str):
        super().__init__(role, scope='lisa_mm', locations=[location])
        self.role = role
        self._base: type | None = None

    def set_base(self, base: type[AnyBase]) -> type[AnyBase]:
        """Declare the base class of every part of this role (used as its decorator)."""
        self._base = base
        return base

    def lookup(self, name: object) -> type:
        """The class registered as ``name``; a class is checked and returned.

        Raises:
            ConfigError: if there is none, or it belongs to another role.
        """
        if inspect.isclass(name):
            cls: type | None = name
        else:
            self.import_from_location()
            cls = self.module_dict.get(str(name))
        if cls is None:
            elsewhere = [other.role for other in ROLES if other is not self and str(name) in other.names()]
            if elsewhere:
                hint = f' {name!r} is a {elsewhere[0]}: give it there.'
            else:
                hint = nearest(str(name), self.names()) + ' A class of your own must be registered (custom_imports).'
            raise ConfigError(f'{name!r} is no registered {self.role}.{hint}')
        if self._base is not None and not issubclass(cls, self._base):
            raise ConfigError(f'{cls.__name__} is no {self.role}: it does not derive from {self._base.__name__}.')
        return cls

    def names(self) -> list[str]:
        """All registered names."""
        self.import_from_location()
        return sorted(self.module_dict)

    def build(self, cfg: object, *args: Any, **kwargs: Any) -> Any:
        """Build a part from ``dict(type=..., **arguments)``; an object that is already built passes through.

        Raises:
            ConfigError: for a missing or unknown ``type``, arguments the class does not take, or a class that lacks a
                method of its role.
        """
        if not isinstance(cfg, dict):
            if self._base is not None and isinstance(cfg, self._base):
                return cfg
            raise ConfigError(f'a {self.role} is given as dict(type=...), got {cfg!r}.')
        arguments = {key: value for key, value in cfg.items() if not key.startswith('_')}
        if 'type' not in arguments:
            raise ConfigError(f"a {self.role} needs 'type', got the keys {sorted(arguments)}.{nearest('', self.names())}")
        cls = self.lookup(arguments.pop('type'))
        check_arguments(cls, arguments)
        unwritten = [name for name in dir(cls) if getattr(getattr(cls, name, None), '__isabstractmethod__', False)]
        if unwritten:
            raise ConfigError(
                f'{cls.__name__}, a {self.role}, leaves out {", ".join(unwritten)}: write it, as its base class says.'
            )
        return cls(**arguments)


def check_arguments(cls: type, arguments: dict[str, Any], where: str = '') -> None:
    """Compare a part's arguments with the signature of its class: names, and types where they are annotated.

    A class checks what it can of its arguments, without data or processes, in ``argument_faults(arguments)``, a class
    method that returns sentences.

    Raises:
        ConfigError: naming every unknown, missing and wrong argument.
    """
    parameters = inspect.signature(cls).parameters
    accepted = accepted_arguments(cls)
    where = where or cls.__name__
    faults = []
    if accepted is not None:
        for key in arguments:
            if key not in accepted:
                faults.append(f'{where}: {cls.__name__} takes no argument {key!r}.{nearest(key, accepted)}')
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty
        if required and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name not in arguments:
            faults.append(f'{where}: {cls.__name__} needs the argument {name!r}.')
    faults += type_faults(cls, arguments, where)
    if not faults and hasattr(cls, 'argument_faults'):
        faults += cls.argument_faults(arguments)
    if faults:
        raise ConfigError(faults)


def accepted_arguments(cls: Callable[..., object]) -> set[str] | None:
    """Names of a class's or function's arguments, including its bases' through ``**kwargs``; None if it takes any."""
    names: set[str] = set()
    sources = [c.__init__ for c in cls.__mro__ if '__init__' in vars(c)] if inspect.isclass(cls) else [cls]
    for source in sources:
        parameters = inspect.signature(source).parameters.values()
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        names |= named - {'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None


def takes(registry: Registry, part: object, argument: str) -> bool:
    """Whether the class of a part has an argument of this name."""
    cls = registry.get(part.get('type')) if isinstance(part, dict) else None  # pyright: ignore[reportArgumentType] - a part without a type is refused before
    return cls is not None and argument in (accepted_arguments(cls) or ())


MLLMS = RoleRegistry('multimodal LLM', location='lisa_mm.models.mllms')
BACKBONES = RoleRegistry('backbone', location='lisa_mm.models.backbones')
PROJECTORS = RoleRegistry('projector', location='lisa_mm.models.projectors')
LANGUAGE_MODELS = RoleRegistry('language model', location='lisa_mm.models.language_models')
SEG_HEADS = RoleRegistry('seg head', location='lisa_mm.models.seg_heads')
MASK_DECODERS = RoleRegistry('mask decoder', location='lisa_mm.models.mask_decoders')
LOSSES = RoleRegistry('loss', location='lisa_mm.models.losses')
ROLES = [MLLMS, BACKBONES, PROJECTORS, LANGUAGE_MODELS, SEG_HEADS, MASK_DECODERS, LOSSES]

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='lisa_mm', locations=['lisa_mm.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='lisa_mm', locations=['lisa_mm.datasets'])
DATA_SAMPLERS = Registry('data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='lisa_mm', locations=['lisa_mm.engine'])
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='lisa_mm', locations=['lisa_mm.datasets.transforms'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='lisa_mm', locations=['lisa_mm.evaluation'])
TEXT_SIMILARITIES = RoleRegistry('text similarity', location='lisa_mm.evaluation')  # a part of a metric, not of a model
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='lisa_mm', locations=['lisa_mm.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='lisa_mm', locations=['lisa_mm.engine'])
STRATEGIES = Registry('strategy', parent=MMENGINE_STRATEGIES, scope='lisa_mm', locations=['lisa_mm.engine'])
