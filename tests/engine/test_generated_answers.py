"""Evaluation of what a model says by itself: its prompts, its masks beside the targets, rejections from data to metric."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from PIL import Image

from lisa_mm.apis.testing import evaluate
from lisa_mm.apis.training import build_runner
from lisa_mm.config import compile_config
from lisa_mm.datasets.conversation import render
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.engine.evaluation_loop import EvaluationLoop
from lisa_mm.errors import ConfigError
from lisa_mm.models import LISA
from lisa_mm.registry import DATASETS
from lisa_mm.testing.tiny import MODEL, PIPELINE, training
from lisa_mm.tokens import IGNORE_INDEX, token_id

SQUARE = [[4, 4], [30, 4], [30, 30], [4, 30]]
# the first image has both kinds, the second none of the things that are asked for
ROWS = [
    {'image': 'a.png', 'phrase': 'the cup', 'masks': [SQUARE]},
    {'image': 'a.png', 'phrase': 'the ball', 'masks': []},
    {'image': 'b.png', 'phrase': 'the boat', 'masks': []},
]


@pytest.fixture
def config(tmp_path) -> Config:
    """A tiny model that knows [REJ], and three questions about two images."""
    for name in ('a.png', 'b.png'):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / 'train.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
    model = copy.deepcopy(MODEL)
    model['mllm']['language_model']['answer_tokens'] = ['[REJ]']
    config = training(model, tmp_path, LISA)
    config.train_dataloader.dataset.rejection = '[REJ]'
    config.test_dataloader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='seg_collate'),
        dataset=dict(type='JsonlSegDataset', data_root=str(tmp_path), test_mode=True, pipeline=copy.deepcopy(PIPELINE)),
    )
    config.test_evaluator = [dict(type='SegIoUMetric'), dict(type='GeneralizedReferMetric', prefix='gref')]
    config.test_cfg = dict()
    config.work_dir = str(tmp_path / 'work')
    return config


def test_labels_hold_the_rejection_and_such_rows_train(config):
    compiled = compile_config(config)
    spec = next(step.tokenizer for step in compiled.train_dataloader.dataset.pipeline if 'tokenizer' in step)
    reject, seg = (token_id(build_tokenizer(**spec), token) for token in ('[REJ]', '[SEG]'))
    dataset = DATASETS.build(compiled.train_dataloader.dataset.to_dict())
    items = [dataset[n] for n in range(2)]
    labels = [[set(row[1].tolist()) - {IGNORE_INDEX} for row in item['inputs']['rows']] for item in items]
    trained = sorted((len(rows), sum(reject in row for row in rows), sum(seg in row for row in rows)) for rows in labels)
    assert trained == [(1, 1, 0), (2, 1, 1)]
    assert sorted(len(item['data_sample'].gt_masks) for item in items) == [0, 1]
    config.train_dataloader.batch_size = 1  # one of the two steps has no mask at all
    runner = build_runner(config, work_dir=config.work_dir)
    runner.train()
    assert runner.iter == 2


def test_an_evaluation_of_generated_answers(config, monkeypatch):
    """The model's answers are replaced, one for each question: a mask, a rejection, and a mask of what is not there."""
    said = iter([['It is [SEG].', '[REJ].'], ['It is [SEG].']])
    prompts: list[str] = []
    original = LISA.generate

    def generate(self: LISA, inputs: Any, data_samples: Any, **options: Any) -> Any:
        tokenizer = build_tokenizer(**self.mllm.tokenizer_spec)
        assert options['eos_token_id'] == [tokenizer.eos_token_id]
        original(self, inputs, data_samples, **{**options, 'max_new_tokens': 2})  # the open prompts run
        for data, answer, row, mask in zip(data_samples, next(said), inputs['input_ids'], inputs['attention_mask'], strict=True):
            ids = row[mask]
            prompts.append(str(tokenizer.decode(ids[ids >= 0], skip_special_tokens=False)))
            new = torch.tensor(tokenizer(answer, add_special_tokens=False).input_ids)
            data.generated[0].ids = torch.cat([ids, new])
            data.set_data({'masks': torch.ones(answer.count('[SEG]'), *data.original_size) > 0})
        return data_samples

    monkeypatch.setattr(LISA, 'generate', generate)
    result = evaluate(config, None, answers='generated')
    found = {name: result['metrics'][f'gref/{name}'] for name in ('N-acc', 'T-acc', 'num_empty', 'num_targets')}
    assert found == {'N-acc': 0.5, 'T-acc': 1.0, 'num_empty': 2.0, 'num_targets': 1.0}
    assert result['answers'] == 'generated'
    # the mask covers all of 48 x 64 pixels, the square 26 x 26 of them; the rejection is right, the third mask wrong
    assert result['gIoU'] == pytest.approx((26 * 26 / (48 * 64) + 1 + 0) / 3, abs=1e-5)
    (asked,) = render([('<image>\n What is the cup in this image? Please output segmentation mask.', None)], 'plain')
    assert prompts[0].endswith(asked.text.partition('<image>')[2])  # up to 'ASSISTANT:', without a blank
    assert '[SEG]' not in ''.join(prompts)


def test_given_answers_are_judged_by_their_masks(config):
    """Without words, an empty mask says that nothing is there; gIoU is then as LISA's program counts it."""
    result = evaluate(config, None)
    metrics = result['metrics']
    assert (metrics['gref/num_empty'], metrics['gref/num_targets']) == (2, 1)
    assert metrics['gref/gIoU'] == pytest.approx(metrics['gIoU'], abs=1e-4)


def test_the_loop_and_its_data_agree(config):
    class Told(torch.utils.data.Dataset):
        answers = 'generated'

        def __len__(self) -> int:
            return 1

    loader = torch.utils.data.DataLoader(Told())
    with pytest.raises(ConfigError, match=r"answers is 'given', but the data set Told has 'generated'"):
        EvaluationLoop(None, loader, Evaluator([]))
    with pytest.raises(ConfigError, match=r"EvaluationLoop.answers is 'said'; allowed: 'given', 'generated'"):
        EvaluationLoop(None, loader, Evaluator([]), answers='said')
    config.test_dataloader.dataset.answers = 'said'
    with pytest.raises(ConfigError, match=r"JsonlSegDataset.answers is 'said'; allowed: 'given', 'generated'"):
        compile_config(config)
