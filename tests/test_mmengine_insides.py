"""What this package uses of mmengine's insides, each thing with its signature and its users.

Nobody promises that these stay as they are: an upgrade of mmengine fails here first, and says which of our modules to look at.
A private thing that is used and not listed fails too, and so does one that is listed and no longer used.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from typing_extensions import is_typeddict

import lisa_mm

ATTRIBUTE = 'set by the owner'
GLOBAL = 'a name that the module imports'
OWNER = ('self', 'cls', 'super()')


class Inside(NamedTuple):
    """Where it is in mmengine, its name, its signature without types (or ATTRIBUTE), and our modules that use it."""

    owner: str
    name: str
    signature: str
    users: set[str]


RUNNER = 'mmengine.runner.FlexibleRunner'
SCHEDULER = 'mmengine.optim.scheduler.param_scheduler._ParamScheduler'
DDP = {'engine.strategies.ddp', 'engine.strategies.evaluation'}
SHARED = "work_dir='work_dirs', experiment_name=None, env_kwargs=None, log_kwargs=None, auto_scale_lr=None"

INSIDES = [
    # the strategies, FlexibleRunner's only door to one's own accumulation and checkpoints: their package is private as a whole
    Inside('mmengine._strategy', 'BaseStrategy', f'(*, {SHARED})', {'engine.strategies.base'}),
    Inside('mmengine._strategy', 'SingleDeviceStrategy', f'(*, {SHARED})', {'engine.strategies.single_device'}),
    Inside('mmengine._strategy', 'DDPStrategy', '(*, model_wrapper=None, sync_bn=None, **kwargs)', {'engine.strategies.ddp'}),
    Inside(
        'mmengine._strategy',
        'DeepSpeedStrategy',
        '(*, config=None, zero_optimization=None, gradient_clipping=None, fp16=None, inputs_to_half=None, bf16=None, amp=None, '
        'activation_checkpointing=None, aio=None, train_micro_batch_size_per_gpu=None, gradient_accumulation_steps=None, '
        'steps_per_print=10000000000000, exclude_frozen_parameters=None, **kwargs)',
        {'engine.strategies.deepspeed'},
    ),
    Inside('mmengine._strategy.deepspeed', 'deepspeed', GLOBAL, {'engine.patches'}),
    Inside('mmengine._strategy.deepspeed', 'register_deepspeed_optimizers', '()', {'engine.patches'}),
    Inside('mmengine._strategy.BaseStrategy', '_init_model_weights', '(self, model)', {'engine.strategies.base'}),
    Inside(
        'mmengine._strategy.BaseStrategy',
        '_setup_env',
        '(self, *, launcher=None, cudnn_benchmark=False, mp_cfg=None, dist_cfg=None, resource_limit=4096, '
        "randomness={'seed': None})",
        {*DDP, 'engine.strategies.deepspeed'},
    ),
    Inside(
        'mmengine._strategy.DDPStrategy',
        '_setup_distributed',
        "(self, launcher='pytorch', backend='nccl', **kwargs)",
        DDP,
    ),
    Inside(
        'mmengine._strategy.DeepSpeedStrategy',
        '_setup_distributed',
        "(self, launcher=None, backend='nccl', **kwargs)",
        {'engine.strategies.deepspeed'},
    ),
    Inside('mmengine._strategy.DDPStrategy', '_wrap_model', '(self, model)', DDP),
    Inside('mmengine._strategy.DeepSpeedStrategy', '_wrap_model', '(self, model)', {'engine.strategies.deepspeed'}),
    # the runner: what to load and when, which LisaRunner.load_or_resume decides in its own way
    Inside('mmengine.runner.utils', '_get_batch_size', '(dataloader)', {'engine.runner'}),
    Inside(RUNNER, '_auto_scale_lr', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_has_loaded', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_load_from', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_resume', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_train_dataloader', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_train_loop', ATTRIBUTE, {'engine.runner'}),
    # what is tested, which LisaRunner.test_on exchanges between two passes
    Inside(RUNNER, '_test_dataloader', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_test_evaluator', ATTRIBUTE, {'engine.runner'}),
    Inside(RUNNER, '_test_loop', ATTRIBUTE, {'engine.runner'}),
    # the base of every schedule of mmengine
    Inside(
        'mmengine.optim.scheduler.param_scheduler',
        '_ParamScheduler',
        '(optimizer, param_name, begin=0, end=1000000000, last_step=-1, by_epoch=True, verbose=False)',
        {'engine.schedules'},
    ),
    Inside(SCHEDULER, '_get_value', '(self)', {'engine.schedules'}),
    Inside(SCHEDULER, '_global_step', ATTRIBUTE, {'engine.schedules'}),
    Inside(SCHEDULER, '_last_value', ATTRIBUTE, {'engine.schedules'}),
    # the hook that ends its profile itself
    Inside('mmengine.hooks.ProfilerHook', '_closed', ATTRIBUTE, {'engine.hooks.mmengine_hooks'}),
    # config files: how mmengine finds the bases of one
    Inside('mmengine.config.Config', '_get_base_files', '(filename)', {'config.files'}),
    Inside('mmengine.config.Config', '_get_cfg_path', '(cfg_path, filename)', {'config.files'}),
    Inside('mmengine.config.Config', '_substitute_predefined_vars', '(filename, temp_config_name)', {'config.files'}),
    # data sets: full_init with an index in place of a pickled list
    Inside('mmengine.dataset.BaseDataset', '_fully_initialized', ATTRIBUTE, {'datasets.base'}),
    Inside('mmengine.dataset.BaseDataset', '_indices', ATTRIBUTE, {'datasets.base'}),
    Inside('mmengine.dataset.BaseDataset', '_get_unserialized_subset', '(self, indices)', {'datasets.base'}),
]


def without_types(thing: Any) -> str:
    signature = inspect.signature(thing)
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@pytest.mark.parametrize('inside', INSIDES, ids=lambda inside: f'{inside.owner}.{inside.name}')
def test_it_is_as_we_use_it(inside):
    owner = pkgutil.resolve_name(inside.owner)
    users = f'look at {sorted(inside.users)}'
    if inside.signature == ATTRIBUTE:
        assert inside.name in private_names(owner), users
    elif inside.signature == GLOBAL:
        assert hasattr(owner, inside.name), users
    else:
        assert without_types(getattr(owner, inside.name)) == inside.signature, users


def test_the_list_names_what_is_used():
    names = [module.name for module in pkgutil.walk_packages(lisa_mm.__path__, 'lisa_mm.')]
    modules = [import_module(name) for name in names if not name.startswith('lisa_mm.configs')]
    own = {name for module in modules for cls in classes(module) for name in private_names(cls)}
    used = {(name, module.__name__.removeprefix('lisa_mm.')) for module in modules for name in uses(module, own)}
    assert used == {(inside.name, user) for inside in INSIDES for user in inside.users}


def uses(module: ModuleType, own: set[str]) -> set[str]:
    """The names in a module that are mmengine's own affair; ``own`` are private to this package."""
    tree = ast.parse(inspect.getsource(module))
    return {*imported(tree), *of_other_objects(tree, own), *(name for cls in classes(module) for name in of_base_classes(cls))}


def imported(tree: ast.Module) -> Iterator[str]:
    """``from mmengine._strategy import BaseStrategy``; of ``import mmengine._strategy.deepspeed as x`` the names after ``x.``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found = [(f'{node.module}.{alias.name}', alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, name) for alias in node.names for name in attributes_of(alias.asname or alias.name, tree)]
        else:
            continue
        yield from (name for path, name in found if is_of_mmengine(path) and any(map(is_private, path.split('.'))))


def attributes_of(receiver: str, tree: ast.Module) -> Iterator[str]:
    yield from (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == receiver)


def of_other_objects(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """``Config._get_base_files``, ``self.cfg._cfg_dict``: in modules that use mmengine, what is not private to this package."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and is_of_mmengine(node.module or '')]
    others = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree) if imports else ():
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            receiver = ast.unparse(node.value)
            if receiver not in OWNER and receiver.split('.')[0] not in others:
                yield node.attr


def of_base_classes(cls: type) -> Iterator[str]:
    """``self._resume``, ``super()._wrap_model``, ``def _wrap_model``, where a base class of mmengine has it."""
    theirs = {name for base in cls.__mro__ if is_of_mmengine(base.__module__) for name in private_names(base)}
    for node in ast.walk(tree_of(cls)) if theirs else ():
        if isinstance(node, ast.FunctionDef) and node.name in theirs:
            yield node.name
        elif isinstance(node, ast.Attribute) and node.attr in theirs and ast.unparse(node.value) in OWNER:
            yield node.attr


def classes(module: ModuleType) -> list[type]:
    own = (thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == module.__name__)
    return [thing for thing in own if not is_typeddict(thing)]  # it has no code, and perhaps no class statement


def private_names(cls: type) -> set[str]:
    """Of methods, of fields and of attributes that a method sets."""
    nodes = ast.walk(tree_of(cls))
    assigned = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return {name for name in {*vars(cls), *assigned} if is_private(name)}


def tree_of(cls: type) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def is_of_mmengine(path: str) -> bool:
    return path.split('.')[0] in ('mmengine', 'mmcv')


def is_private(name: str) -> bool:
    return name.startswith('_') and not name.startswith('__')
