"""Checks of the runner's settings (data loaders, optimizer, schedules, hooks, metrics) that need no runner."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, LOG_PROCESSORS, OPTIMIZERS, PARAM_SCHEDULERS, VISBACKENDS, VISUALIZERS, Registry
from torch import nn

from ..errors import CheckpointError, ConfigError, UserError, nearest
from ..file_kinds import CUT, TOKENIZER_FILES, identify
from ..registry import DATA_SAMPLERS, DATASETS, HOOKS, METRICS, STRATEGIES, TRANSFORMS, check_arguments, takes
from .edits import LOADER_KEYS

FILE_KEYS = ('pretrained', 'tokenizer', 'load_from')
DEFAULT_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')


def check_part(registry: Registry, part: object, where: str, faults: list[str], *, build: bool = False, **given: Any) -> Any:
    """Check type and arguments of a part from one of mmengine's registries.

    Args:
        registry: The registry of its role.
        part: ``dict(type=..., **arguments)``; an object that is already built is not checked.
        where: Its path in the config.
        faults: Receives the faults.
        build: Also build the part if that needs no data, so that its own value checks run.
        given: Arguments that the runner supplies.

    Returns:
        The part's class, or None.
    """
    if not isinstance(part, dict):
        if isinstance(part, (str, int, float, list, tuple)):
            faults.append(f"{where} is {part!r}; a {registry.name} is given as dict(type='...').")
        return None
    name = part.get('type')
    cls = name if inspect.isclass(name) or inspect.isfunction(name) else registry.get(name) if name else None
    if cls is None:
        registry.import_from_location()
        faults.append(
            f'{where}.type is {name!r}, which is no registered {registry.name}.{nearest(str(name), registry.module_dict)}'
        )
        return None
    arguments = {key: value for key, value in part.items() if key not in ('type', '_scope_')}
    before = len(faults)
    from ..engine.mmengine_parts import part_faults

    faults += part_faults(cls, arguments, where)
    collect(faults, lambda: check_arguments(cls, {**given, **arguments}, where))  # pyright: ignore[reportArgumentType] - a function has a signature too
    if build and len(faults) == before:
        try:
            cls(**given, **arguments)
        except UserError as error:
            faults += [f'{where}: {fault}' for fault in getattr(error, 'faults', [str(error)])]
        except (TypeError, ValueError, AssertionError, KeyError) as error:  # errors by which mmengine and mmcv reject values
            faults.append(f'{where}: {name} does not take {arguments}: {error}.')
    return cls


def collect(faults: list[str], action: Callable[[], Any], prefix: str = '') -> Any:
    """Run an action; on a user's error, keep its faults and return None."""
    try:
        return action()
    except ConfigError as error:
        faults += [prefix + fault for fault in error.faults if prefix + fault not in faults]
    except UserError as error:
        faults.append(prefix + str(error))
    return None


def files_of(node: object, path: str = '') -> Iterator[tuple[str, str]]:
    """Key and value of every entry below that names a file or folder."""
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        where = f'{path}.{key}' if path else str(key)
        if key in FILE_KEYS and isinstance(value, str):
            yield where, value
        yield from files_of(value, where)


def check_named_files(config: Config, faults: list[str]) -> None:
    """Check the first bytes of the files that a config names, and of such folders' files; absent ones are not looked at."""
    for key, file in files_of({name: config.get(name) for name in ('model', 'load_from')}):
        found = [fault for fault in _broken(Path(file)) if not any(fault in known for known in faults)]
        faults += [f'{key}: {fault}' for fault in found]


def _broken(path: Path) -> Iterator[str]:
    """What a file, or the files of a folder, are instead: pointers, pages, cut off, missing shards."""
    from ..models.weight_files import NAMES, find_files

    files = [path] if path.is_file() else [path / name for name in ('config.json', *TOKENIZER_FILES)]
    if any((path / name).is_file() for name in NAMES):
        try:
            files += find_files(path)[0]
        except CheckpointError as error:
            yield str(error)
    for file in files:
        kind = identify(file) if file.is_file() else None
        if kind is not None and (kind.stand_in or kind.name == CUT):
            yield f'{file} {kind.says}. {kind.remedy}'


def check_loader(loader: Mapping[str, Any], where: str, faults: list[str]) -> None:
    """Check keys and numbers of a data loader, its sampler and its collation."""
    faults += [f'{where} has no {key!r}.{nearest(key, LOADER_KEYS)}' for key in loader if key not in LOADER_KEYS]
    for key, least in (('batch_size', 1), ('num_workers', 0)):
        value = loader.get(key, least)
        if type(value) is not int or value < least:
            faults.append(f'{where}.{key} is {value!r}; give a whole number >= {least}.')
    if loader.get('persistent_workers') and loader.get('num_workers', 0) == 0:
        faults.append(f'{where}.persistent_workers is True, but num_workers is 0: leave it out, or give num_workers >= 1.')
    if loader.get('sampler'):
        cls = check_part(DATA_SAMPLERS, loader['sampler'], f'{where}.sampler', faults, dataset=[0])
        if hasattr(cls, 'seek') and where != 'train_dataloader':
            faults.append(f'{where}.sampler.type is {cls.__name__!r}, which never ends: use DefaultSampler, shuffle=False.')
    if loader.get('collate_fn'):
        check_part(FUNCTIONS, loader['collate_fn'], f'{where}.collate_fn', faults, batch=[])


def check_pipeline(pipeline: Sequence[Any], where: str, faults: list[str]) -> None:
    """Check that each step finds its inputs, by the ``needs`` and ``gives`` of the transform classes that have them."""
    classes: list[Any] = [
        TRANSFORMS.get(step['type']) if isinstance(step, dict) and 'type' in step else None for step in pipeline
    ]
    if not all(hasattr(cls, 'needs') and hasattr(cls, 'gives') for cls in classes):
        return  # a third-party step may give anything
    known: set[str] = set()
    for number, cls in enumerate(classes):
        for key in sorted(set(cls.needs) - known):
            givers = [other.__name__ for other in TRANSFORMS.module_dict.values() if key in getattr(other, 'gives', ())]
            faults.append(
                f'{where}.pipeline[{number}] {cls.__name__} needs {key!r}, which no step before it gives: '
                f'put {" or ".join(givers)} before it.'
            )
        known |= set(cls.gives)
    if pipeline and 'data_sample' not in known:
        faults.append(f'{where}.pipeline ends with {classes[-1].__name__}: end it with PackSegInputs.')


def check_dataset(dataset: dict[str, Any], where: str, data_root: str | None, faults: list[str]) -> None:
    """Check type and arguments of a data set; its root is filled in from the config."""
    if data_root and 'data_root' not in dataset and takes(DATASETS, dataset, 'data_root'):
        dataset['data_root'] = data_root
    if check_part(DATASETS, dataset, where, faults) and 'data_root' not in dataset and takes(DATASETS, dataset, 'data_root'):
        faults.append(f'{where}.data_root is missing: give data_root=DIR at the top of the config (--cfg-options data_root=DIR).')
    check_pipeline(dataset.get('pipeline') or [], where, faults)


def check_rejection(dataset: Mapping[str, Any], where: str, answer_tokens: Sequence[str], faults: list[str]) -> None:
    """Check that the token by which a data set says that nothing is there is one of the language model's."""
    token = dataset.get('rejection')
    if isinstance(token, str) and takes(DATASETS, dataset, 'rejection') and token not in answer_tokens:
        have = f'its answer_tokens are {list(answer_tokens)}' if answer_tokens else 'it has no answer_tokens'
        faults.append(
            f'{where}.rejection is {token!r}, which the language model would read as plain text: {have}. Give it '
            f'answer_tokens=[{token!r}] (model.mllm.language_model.answer_tokens, or model.mllm.answer_tokens of a whole model).'
        )


def check_hooks(config: Config, faults: list[str]) -> None:
    """``default_hooks`` and ``custom_hooks``."""
    for name, hook in (config.get('default_hooks') or {}).items():
        if hook is not None:
            check_part(HOOKS, hook, f'default_hooks.{name}', faults, build=True)
        close = difflib.get_close_matches(name, DEFAULT_HOOKS, n=1, cutoff=0.8)
        if close and name not in DEFAULT_HOOKS:
            faults.append(f'default_hooks.{name}: did you mean {close[0]!r}? A hook of your own belongs in custom_hooks.')
    if config.get('param_scheduler') and (config.get('default_hooks') or {}).get('param_scheduler', '') is None:
        faults.append('default_hooks.param_scheduler is None, so that param_scheduler has no effect: leave one of them out.')
    for number, hook in enumerate(as_list(config.get('custom_hooks'))):
        cls = check_part(HOOKS, without(hook, 'priority'), f'custom_hooks[{number}]', faults, build=True)
        if hasattr(cls, 'strategy_faults'):
            faults += cls.strategy_faults(config.get('strategy') or {})


def check_logging(config: Config, faults: list[str]) -> None:
    """``visualizer`` with its backends, and ``log_processor``."""
    visualizer = config.get('visualizer')
    if visualizer:
        check_part(VISUALIZERS, visualizer, 'visualizer', faults)
        for number, backend in enumerate(as_list(visualizer.get('vis_backends')) if isinstance(visualizer, dict) else ()):
            check_part(VISBACKENDS, backend, f'visualizer.vis_backends[{number}]', faults, save_dir='')
    processor = config.get('log_processor')
    if not isinstance(processor, dict):
        return
    check_part(LOG_PROCESSORS, {'type': 'LogProcessor', 'by_epoch': False, **processor}, 'log_processor', faults, build=True)
    logger = (config.get('default_hooks') or {}).get('logger') or {}
    for key in ('window_size', 'custom_cfg'):
        if key in processor and logger.get('type', 'ProgressHook') == 'ProgressHook':
            faults.append(
                f'log_processor.{key} has no effect with ProgressHook, which averages since its last line: leave it out, or give '
                "default_hooks.logger=dict(type='LoggerHook', log_metric_by_epoch=False)."
            )


def without(part: object, key: str) -> Any:
    """A part without a key that the runner removes."""
    return {k: v for k, v in part.items() if k != key} if isinstance(part, dict) else part


def check_metrics(config: Config, faults: list[str]) -> None:
    """``val_evaluator`` and ``test_evaluator``."""
    for name in ('val_evaluator', 'test_evaluator'):
        for number, metric in enumerate(as_list(config.get(name))):
            check_part(METRICS, metric, f'{name}[{number}]', faults, build=True)


def check_schedules(config: Config, faults: list[str]) -> None:
    """``param_scheduler``; the length of the run is filled in where it is taken."""
    steps = (config.get('train_cfg') or {}).get('max_iters')
    for number, scheduler in enumerate(as_list(config.get('param_scheduler'))):
        where = f'param_scheduler[{number}]' if isinstance(config['param_scheduler'], list) else 'param_scheduler'
        if takes(PARAM_SCHEDULERS, scheduler, 'total_iters') and type(steps) is int:
            fill(scheduler, {'total_iters': steps}, where, faults)
        if type(steps) is not int or steps < 1:
            continue  # a fault of train_cfg, or nothing to schedule
        dummy = dummy_optimizer(config)
        check_part(PARAM_SCHEDULERS, without(scheduler, 'convert_to_iter_based'), where, faults, build=True, optimizer=dummy)


def dummy_optimizer(config: Config) -> torch.optim.Optimizer:
    """The config's optimizer over one number, so that a schedule of momentum finds what the real one has; else SGD."""
    parameters = [nn.Parameter(torch.zeros(1, device='cpu'))]
    wrapper = config.get('optim_wrapper')
    written = dict((wrapper.get('optimizer') or {}) if isinstance(wrapper, dict) else {})
    cls = OPTIMIZERS.get(str(written.pop('type', None)))
    try:
        if cls is not None:
            return cls(parameters, **written)
    except (TypeError, ValueError):
        pass  # check_optimizer reports it
    return torch.optim.SGD(parameters, lr=1.0)


def check_strategy(config: Config, faults: list[str]) -> None:
    """``strategy``, and that the optimizer's wrapper goes with it; its type follows."""
    from ..engine.optimizer import optim_wrapper_faults

    if not config.get('strategy'):
        return
    cls = check_part(STRATEGIES, config['strategy'], 'strategy', faults)
    wrapper_type = getattr(cls, 'wrapper_type', None)
    if wrapper_type and isinstance(config.get('optim_wrapper'), dict):
        faults += optim_wrapper_faults(config['optim_wrapper'], wrapper_type, cls.__name__)
        config['optim_wrapper']['type'] = wrapper_type


def check_optimizer(config: Config, model: nn.Module | None, faults: list[str]) -> None:
    """``optim_wrapper``: the optimizer, its values, and rates by part."""
    from ..engine.optimizer import optimizer_faults

    optim_wrapper = config.get('optim_wrapper')
    if isinstance(optim_wrapper, dict):
        faults += optimizer_faults(optim_wrapper, [name for name, _ in model.named_parameters()] if model else [])


def fill(part: dict[str, Any], values: Mapping[str, Any], where: str, faults: list[str]) -> None:
    """Fill in derived values; a different written value is a fault."""
    for key, value in values.items():
        if value is None:
            continue
        if key in part and part[key] != value:
            faults.append(f'{where}.{key} is {part[key]!r}, but it follows from the other parts as {value!r}. Leave it out.')
        part[key] = value


def as_list(value: object) -> Sequence[Any]:
    """None, one value or several, as a sequence."""
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]
