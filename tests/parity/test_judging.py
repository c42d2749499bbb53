"""Whole validation sets through the loop of benchmarks: in batches of one and four, in one process and in two."""

from __future__ import annotations

import json
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import (
    DecodeMasks,
    EncodeConversations,
    LoadImage,
    PackSegInputs,
    ResizeForMaskDecoder,
    ResizeForVisionTower,
)
from lisa_mm.engine.judging import JudgingLoop
from lisa_mm.evaluation import SegIoUMetric
from lisa_mm.evaluation.judged import Judged
from lisa_mm.models import LISA

from .answers import overlapping, read_evaluation
from .golden import Golden, build_model, validation_set


@pytest.fixture(scope='module')
def table(golden):
    return read_evaluation(golden)[0]


@pytest.fixture(scope='module')
def merged(golden):
    return build_model(golden, merged=True).eval()


def judged_set(golden: Golden, model: LISA, set_name: str, batch_size: int, folder: Path) -> list[Judged] | None:
    """The judged questions of a set; None on all processes but the first."""
    spec: Any = model.mllm.tokenizer_spec
    pipeline = [
        LoadImage(),
        DecodeMasks(),
        ResizeForVisionTower(model.mllm.preprocess),
        ResizeForMaskDecoder(model.mask_decoder.preprocess),
        EncodeConversations(spec, model.mllm.num_image_tokens(0, 0)),
        PackSegInputs(),
    ]
    collate = partial(seg_collate, pad_token_id=int(build_tokenizer(**spec).pad_token_id))
    loader = {'batch_size': batch_size, 'num_workers': 0, 'collate_fn': collate}
    dataset: Any = validation_set(golden, set_name, pipeline)
    done = JudgingLoop(model, dataset, loader, folder=folder, stamp=set_name, title=set_name, keep_masks=False).run()
    return None if done is None else [one for judged in done.values() for one in judged]


def check(golden: Golden, table: dict[str, Any], set_name: str, judged: list[Judged]) -> float:
    """Compare with the original's figures of a set; returns the larger deviation of gIoU and cIoU."""
    wanted = table['validation'][set_name]
    by_image = {entry['image']: entry for entry in wanted['per_image']}
    clipped = overlapping(golden, set_name)
    images = {one.img_path.removeprefix(f'{golden.root / "dataset"}/') for one in judged}
    assert images == set(by_image)
    doubtful = 0
    for image, entry in by_image.items():
        own = [one for one in judged if one.img_path.endswith(image)]
        pairs = [pair for one in own for pair in one.pairs]
        if image in clipped:
            continue
        # a pixel whose logit is next to zero may fall on either side
        doubtful += entry['near_zero_pixels']
        assert abs(sum(i for i, _ in pairs) - entry['intersection_bg_fg'][1]) <= entry['near_zero_pixels'], image
        assert abs(sum(u for _, u in pairs) - entry['union_bg_fg'][1]) <= entry['near_zero_pixels'], image
    scores = SegIoUMetric().score(judged)
    deviation = max(abs(scores['gIoU'] - wanted['giou']), abs(scores['cIoU'] - wanted['ciou']))
    if not clipped:
        # half a pixel of the smallest mask, where a pixel is in doubt
        smallest = min(max(pair[1], 1) for one in judged for pair in one.pairs)
        assert deviation < 1e-6 + doubtful / smallest
    return deviation


@pytest.mark.parametrize('batch_size', [1, 4])
def test_a_set_in_batches(golden, table, merged, set_name, batch_size, tmp_path, record_deviation):
    judged = judged_set(golden, merged, set_name, batch_size, tmp_path)
    deviation = check(golden, table, set_name, judged)
    if not overlapping(golden, set_name):
        record_deviation(f'judged in batches of {batch_size}: gIoU, cIoU', deviation)


def judge_shared(rank: int, port: int, root: Path, folder: Path, names: list[str]) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    golden = Golden(root, json.loads((root / 'train_forward.json').read_text()))
    model = build_model(golden, merged=True).eval()
    for number, name in enumerate(names):
        judged = judged_set(golden, model, name, 2, folder / f'{number}')
        if judged is not None:
            (folder / f'{number}.json').write_text(json.dumps([one.to_json() for one in judged]))
    torch.distributed.destroy_process_group()


def test_two_processes_share_the_sets(golden, table, tmp_path):
    names = list(table['validation'])
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
    torch.multiprocessing.spawn(judge_shared, (port, golden.root, tmp_path, names), nprocs=2)
    for number, name in enumerate(names):
        judged = [Judged.from_json(values) for values in json.loads((tmp_path / f'{number}.json').read_text())]
        check(golden, table, name, judged)
