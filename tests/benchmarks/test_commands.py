"""tools/benchmark.py: a door to benchmarks/, from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'benchmark.py'


def benchmark(folder, *words):
    """Output of the command, started elsewhere; what makes the checkout importable is its own work."""
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ('command', 'flags'),
    [
        ('speed', ('--preset', '--as-original', '--each', '--against', '--rounds', '--steps', '--threads', '--out', '--page')),
        ('paper', ('--configs', '--page')),
        ('data', ('--images', '--label-maps', '--photos', '--samples', '--tokenizer', '--out')),
        ('memory', ('--only', '--out', '--table', '--figure')),
        ('start-memory', ('--processes', '--files', '--strategy', '--train-embeddings', '--dir', '--out')),
        ('import-memory', ('--size', '--shard', '--dir')),
        ('serving', ('--model', '--clients', '--requests', '--batch', '--turns', '--side')),
    ],
)
def test_subcommands_and_flags_are_public(tmp_path, command, flags):
    text = benchmark(tmp_path, command, '--help')
    assert all(flag in text for flag in flags)


@pytest.mark.slow
def test_data(tmp_path):
    benchmark(tmp_path, 'data', '--images', '20', '--label-maps', '20', '--photos', '5', '--samples', '3', '--out', 'data.json')
    results = json.loads((tmp_path / 'data.json').read_text())
    assert len(results) == 3
    assert all(result['samples/s, 2 workers'] > 0 for result in results.values())


@pytest.mark.slow
def test_import_memory(tmp_path):
    text = benchmark(tmp_path, 'import-memory', '--size', '200MB', '--shard', '100MB', '--dir', str(tmp_path))
    assert 'the import adds' in text
