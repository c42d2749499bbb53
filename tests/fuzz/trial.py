"""Runs damaged data sets in a process of its own: ``python -m tests.fuzz.trial FIRST COUNT FOLDER``; prints one json."""

from __future__ import annotations

import copy
import json
import logging
import resource
import shutil
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from lisa_mm.config.compile import compile_config
from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.doctor import check
from lisa_mm.errors import UserError
from lisa_mm.models import LISA
from lisa_mm.registry import DATASETS, MODELS
from lisa_mm.testing.tiny import MODEL, training

from .mutations import damage_image, damage_text
from .roots import ROOTS


class Trial:
    """A tiny model and its pipeline, shared by all trials."""

    def __init__(self, folder: Path):
        self.folder = folder
        torch.manual_seed(0)
        compiled = compile_config(training(copy.deepcopy(MODEL), folder, LISA))
        self.pipeline = compiled.train_dataloader.dataset.to_dict()['pipeline']
        self.model = MODELS.build(compiled.model.to_dict())
        self.model.train()
        spec = next(step for step in self.pipeline if step['type'] == 'EncodeConversations')['tokenizer']
        self.pad = int(build_tokenizer(**spec).pad_token_id)

    def run(self, seed: int) -> str:
        """Damage, check, and train on what is accepted; returns what happened."""
        rng = np.random.default_rng(seed)
        root = self.folder / 'root'
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        entry = ROOTS[seed % len(ROOTS)](root)
        # files of equal name in different places stay in an order that does not depend on the machine
        files = sorted(path for path in root.rglob('*') if path.is_file())
        texts = [path for path in files if path.suffix in ('.json', '.jsonl', '.p')]
        if seed % len(ROOTS) != len(ROOTS) - 1 and rng.random() < 0.7:
            damage_text(texts[int(rng.integers(len(texts)))], rng)
        else:
            path = files[int(rng.integers(len(files)))]
            (damage_text if path in texts else damage_image)(path, rng)
        return self.judge({**entry, 'data_root': str(root)}, seed)

    def judge(self, entry: dict[str, Any], seed: int) -> str:
        found = check(Config(dict(train_dataloader=dict(dataset=entry))), workers=1)
        errors = [finding for finding in found if finding.level == 'error']
        if errors:
            unnamed = [finding.problem for finding in errors if not finding.file or not finding.problem.strip()]
            assert not unnamed, f'an error without a file: {unnamed}'
            return 'refused'
        dataset = DATASETS.build({**entry, 'pipeline': copy.deepcopy(self.pipeline), 'cache_index': False})
        items = [dataset[number] for number in range(len(dataset))]
        batch = seg_collate(items[:2], pad_token_id=self.pad)
        losses = self.model(**self.model.data_preprocessor(batch, True), mode='loss')
        loss = sum(value for name, value in losses.items() if 'loss' in name)
        assert torch.isfinite(torch.as_tensor(loss)).all(), f'the loss is {losses}'
        loss.backward()
        self.model.zero_grad()
        return 'trained'


def main() -> None:
    first, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    logging.disable(logging.WARNING)
    trial = Trial(folder)
    outcomes: Counter[str] = Counter()
    faults: dict[int, str] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for seed in range(first, first + count):
        (folder / 'seed').write_text(str(seed))  # a crash leaves it behind
        try:
            outcomes[trial.run(seed)] += 1
        except UserError as error:
            faults[seed] = f'accepted by check, refused in training: {error}'
        except Exception:
            faults[seed] = traceback.format_exc()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print('RESULT', json.dumps({'outcomes': outcomes, 'faults': faults, 'before': before, 'peak': peak}))


if __name__ == '__main__':
    main()
