"""docs/metrics.md: a section for each metric, and an example that runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lisa_mm import evaluation
from lisa_mm.evaluation.base import JudgedMetric
from lisa_mm.registry import METRICS

PAGE = (Path(__file__).parents[2] / 'docs' / 'metrics.md').read_text(encoding='utf-8')
NAMES = [name for name in evaluation.__all__ if name.endswith('Metric')]


def test_a_section_for_each_metric():
    sections = re.findall(r'^## (\w+Metric)$', PAGE, flags=re.M)
    assert sorted(sections) == sorted(NAMES)
    assert sorted(re.findall(r'^\|.*\| `(\w+Metric)` \|', PAGE, flags=re.M)) == sorted(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_config_can_name_it(name):
    metric = METRICS.build({'type': name, 'prefix': 'p'})
    assert isinstance(metric, JudgedMetric)
    assert metric.prefix == 'p'


def test_the_example_runs():
    (code,) = re.findall(r'```python\n(.*?)```', PAGE, flags=re.S)
    space: dict = {}
    exec(code, space)
    try:
        metric = METRICS.build({'type': 'HitMetric'})
        ones = torch.ones(1, 2, 2)
        metric.process(None, [{'masks': ones > 0, 'gt_masks': ones}, {'masks': ones > 0, 'gt_masks': ones * 0}])
        assert metric.compute_metrics(metric.results)['hits'] == 0.5
    finally:
        METRICS.module_dict.pop('HitMetric')
