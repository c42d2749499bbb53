"""Train from a config."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from mmengine.config import Config

from ..checkpoints.folder import CONFIG, find_checkpoint
from ..config.compile import compile_config
from ..config.load import load_config
from ..engine.launch import detect_launcher
from ..engine.lock import locked
from ..engine.memory import keep_freed_memory
from ..engine.runner import LisaRunner


def build_runner(source: Config, work_dir: str | Path, **settings: object) -> LisaRunner:
    """A runner from a source config.

    Args:
        source: A config from :func:`lisa_mm.config.load_config`.
        work_dir: Folder for logs, checkpoints, and the source as ``config.py``.
        settings: Keys that replace the config's (``resume``, ``load_from``, ``train_dataloader=None``, ...).
    """
    compiled = compile_config(source).to_dict()
    for key in ('data_root', 'custom_imports', 'runner_type'):
        compiled.pop(key, None)
    for split in ('val', 'test'):  # mmengine needs the three keys of a loop together
        if not compiled.get(f'{split}_dataloader'):
            for key in (f'{split}_dataloader', f'{split}_cfg', f'{split}_evaluator'):
                compiled.pop(key, None)
    compiled |= {'work_dir': str(work_dir), **settings}
    return LisaRunner(**compiled, cfg={}, config_text=source.pretty_text)


def train(
    config: str | Path,
    *,
    work_dir: str | Path | None = None,
    resume: bool | str = False,
    launcher: str = 'auto',
    swaps: Iterable[str] = (),
    options: Iterable[str] = (),
) -> Path:
    """Train a config.

    Args:
        config: A config file.
        work_dir: By default ``work_dirs/<name of the config>``.
        resume: True continues from the work folder's last checkpoint; a path continues from that checkpoint.
        launcher: Name of the launcher; 'auto' reads the environment.
        swaps, options: See :func:`lisa_mm.config.load_config`.

    Returns:
        The work folder.

    Raises:
        WorkFolderError: if another run writes into the work folder, or it can't be written.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    source = load_config(config, swaps, options)
    folder = Path(work_dir or source.get('work_dir') or Path('work_dirs') / Path(config).stem)
    if isinstance(resume, (str, Path)):
        find_checkpoint(resume)  # its absence shows before the model is built
    launcher = detect_launcher(launcher=launcher)
    main = os.environ['RANK'] == '0'
    with locked(folder, owner=main):  # before the runner, which writes its log there
        runner = build_runner(source, folder, resume=resume, launcher=launcher)
        if main:
            (folder / CONFIG).write_text(source.pretty_text, encoding='utf-8')
        runner.train()
    return folder
