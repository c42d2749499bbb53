"""A check gives one answer everywhere: pre-commit runs what make check runs, in the versions that the dev extra pins."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def read(*names: str) -> str:
    return '\n'.join((ROOT / name).read_text(encoding='utf-8') for name in names)


def hooks() -> list[dict]:
    return yaml.safe_load(read('.pre-commit-config.yaml'))['repos'][0]['hooks']


def test_pre_commit_pins_what_the_dev_extra_pins():
    pinned = dict(re.findall(r"""['"]([\w-]+)==([\w.]+)['"]""", read('pyproject.toml', 'setup.py')))
    for hook in hooks():
        (requirement,) = hook['additional_dependencies']
        name, _, version = requirement.partition('==')
        assert (name, pinned.get(name)) == (name, version)


def test_pre_commit_runs_what_make_check_runs():
    recipe = re.search(r'^check:.*\n((?:\t.*\n)+)', read('Makefile'), flags=re.M)[1]  # pyright: ignore[reportOptionalSubscript] - it is there
    programs = re.findall(r'^\t\$\(BIN\)/(ruff \w+|[\w-]+)', recipe, flags=re.M)
    assert [
        ' '.join(hook['entry'].split()[: len(name.split())]) for hook, name in zip(hooks(), programs, strict=True)
    ] == programs
