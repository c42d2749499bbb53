"""The loop over a benchmark's records: both protocols, and taking up a run that broke off."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from lisa_mm.config import compile_config
from lisa_mm.datasets.collate import seg_collate
from lisa_mm.engine.judging import JudgingLoop, read_part
from lisa_mm.models import LISA
from lisa_mm.registry import DATASETS, MODELS
from lisa_mm.testing.tiny import MODEL, PIPELINE, training

SQUARE = [[4, 4], [30, 4], [30, 30], [4, 30]]
NAMES = ('a.png', 'b.png', 'c.png')


@pytest.fixture(scope='module')
def parts(tmp_path_factory) -> tuple[LISA, Config, Path]:
    """A tiny model, its config, and five questions about three images of other sizes, one of them about nothing."""
    folder = tmp_path_factory.mktemp('data')
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (48 + number, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    rows = [{'image': name, 'phrase': 'the cup', 'masks': [SQUARE]} for name in NAMES]
    rows += [{'image': 'a.png', 'phrase': 'the ball', 'masks': []}]
    rows += [{'image': 'b.png', 'phrase': 'all cups', 'masks': [SQUARE, [[40, 4], [50, 4], [50, 20]]]}]
    (folder / 'test.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    config = training(copy.deepcopy(MODEL), folder, LISA)
    dataset = dict(type='JsonlSegDataset', data_root=str(folder), file='test.jsonl', test_mode=True)
    config.test_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(dataset, pipeline=copy.deepcopy(PIPELINE)))
    config.test_cfg, config.test_evaluator = dict(), [dict(type='SegIoUMetric')]
    compiled = compile_config(config)
    torch.manual_seed(0)
    model: LISA = MODELS.build(compiled.model.to_dict())
    return model.eval(), compiled, folder


def loop_of(
    parts: Any, folder: Path | None, *, answers: str = 'given', batch_size: int = 2, stamp: str = 'a', **more: Any
) -> Any:
    model, compiled, _ = parts
    dataset = DATASETS.build({**compiled.test_dataloader.dataset.to_dict(), 'answers': answers})
    loader = {'batch_size': batch_size, 'num_workers': 0, 'collate_fn': partial(seg_collate, pad_token_id=0)}
    return JudgingLoop(model, dataset, loader, folder=folder, stamp=stamp, title='t', max_new_tokens=4, **more)


def test_every_record_once_whatever_the_batch(parts):
    one, four = (loop_of(parts, None, batch_size=size).run() for size in (1, 4))
    assert one is not None
    assert list(one) == [0, 1, 2, 3, 4]
    assert one == four
    judged = [question for record in one.values() for question in record]
    assert [question.is_empty for question in judged].count(True) == 1
    assert all(question.answer is None and len(question.pairs) == 1 for question in judged)
    assert {question.size for question in judged} == {(48, 64), (49, 64), (50, 64)}


def test_what_the_model_says(parts):
    done = loop_of(parts, None, answers='generated').run()
    judged = [question for record in done.values() for question in record]
    assert all(isinstance(question.answer, str) and len(question.pairs) == 1 for question in judged)
    assert all(len(question.predicted) == question.answer.count('[SEG]') for question in judged)


def test_a_second_run_goes_on_where_the_first_stopped(parts, tmp_path, monkeypatch):
    whole = loop_of(parts, None).run()
    stopped = loop_of(parts, tmp_path, batch_size=1)
    run_batch, seen = JudgingLoop._run, []

    def stop_at_the_third(self, batch):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(batch)
        return run_batch(self, batch)

    monkeypatch.setattr(JudgingLoop, '_run', stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    monkeypatch.setattr(JudgingLoop, '_run', lambda self, batch: seen.append(batch) or run_batch(self, batch))
    part = tmp_path / 'part_0.jsonl'
    part.write_text(part.read_text() + '{"record": 2, "judg')  # the process died while it wrote
    again = loop_of(parts, tmp_path, batch_size=1)
    assert again.run() == whole
    assert len(seen) == 2 + 3
    assert again.taken_up == 2
    again.forget_parts()
    assert not list(tmp_path.iterdir())


def test_other_weights_or_settings_begin_anew(parts, tmp_path):
    loop_of(parts, tmp_path).run(limit=2)
    part = tmp_path / 'part_0.jsonl'
    assert [number for number, _ in read_part(part, 'a')] == [0, 1]
    assert list(read_part(part, 'b')) == []
    done = loop_of(parts, tmp_path, stamp='b').run()
    assert list(done) == [0, 1, 2, 3, 4]
    assert len(list(read_part(part, 'b'))) == 5


def test_a_limit_above_the_number_of_records(parts):
    assert len(loop_of(parts, None).run(limit=99)) == 5
    assert list(loop_of(parts, None).run(limit=1)) == [0]


def test_masks_are_kept_where_asked_for(parts):
    from pycocotools import mask as coco_mask

    kept = loop_of(parts, None).run(limit=1)[0][0]
    assert coco_mask.area(kept.masks[0]) == kept.predicted[0]
    assert coco_mask.area(kept.target_masks[0]) == kept.targets[0]
    assert loop_of(parts, None, keep_masks=False).run(limit=1)[0][0].masks is None
