"""Write the demo set to disk, and compare its contents with the recorded hashes."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
from PIL import Image

from lisa_mm.errors import UserError
from lisa_mm.progress import progress

from ..numbers import check_at_least
from .kinds import HELD_OUT
from .looking import looking_rows
from .recorded import COUNTS, PREFIX, RECORDED_PRETRAIN, SEED, SPLITS_FILE, VERSION
from .records import explanation_record, pretraining_rows, reasoning_item, to_json
from .referring import Referring, referring, write_referring
from .scenes import PRETRAIN_SPLITS, REASONING_SPLITS, Scene, draw_scene
from .several import FOLDER, write_several

EXPLANATIONS = 200
REFER_SEG = 'refer_seg'
LOOKING = {'pretrain': 'looking.jsonl', 'pretrain_val': 'looking_val.jsonl'}
_DONE = 'done.json'
_POOL_PAYS = 800
"""Number of scenes that take as long to draw as new processes need to import torch, for the pretraining rows."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    seed: int
    split: str
    index: int
    folder: Path | None = None


@dataclass(frozen=True)
class _Outcome:
    """A scene's SHA-256, the text lines it adds to its split's common files, and what it adds to `refer_seg`."""

    digest: bytes
    lines: list[str]
    looking: list[str]
    referring: Referring | None = None


_Map = Callable[[Callable[[_Job], _Outcome], Iterable[_Job]], Iterable[_Outcome]]


def file_stem(split: str, index: int) -> str:
    """The name of a scene's files, without the extension."""
    return {'pretrain': f'{index:06d}', 'pretrain_val': f'val_{index:06d}'}.get(split, f'{split}_{index:04d}')


def _render(job: _Job) -> _Outcome:
    """Draw a scene and its texts, and store them if the job has a folder."""
    # Each worker draws its own scene, so OpenCV's threads would only wait for each other.
    cv2.setNumThreads(1)
    scene = draw_scene(job.seed, job.split, job.index)
    stem = file_stem(job.split, job.index)
    image_name = f'{stem}.jpg'
    refers, looking = None, []
    if job.split in PRETRAIN_SPLITS:
        image_name = f'images/{stem}.jpg'
        lines = [to_json(row) for row in pretraining_rows(scene, job.seed, image_name)]
        looking = [to_json(row) for row in looking_rows(scene, job.seed, image_name)]
        text = '\n'.join(lines)
    else:
        item = reasoning_item(scene, job.seed, image_name)
        text, lines = to_json(item), []
        if job.split == 'train' and item['is_sentence']:
            lines = [to_json(explanation_record(scene, item, image_name, f'{stem}.json'))]
        refers = referring(scene, job.seed, f'{job.split}/{image_name}')
        if job.folder is not None:
            (job.folder / f'{stem}.json').write_text(text, encoding='utf-8')
    if job.folder is not None:
        Image.fromarray(scene.image).save(job.folder / image_name, quality=92, subsampling=0)
    return _Outcome(_digest(scene, image_name, text), lines, looking, refers)


def _digest(scene: Scene, image_name: str, text: str) -> bytes:
    """SHA-256 over the file name, the texts and the pixels before JPEG encoding, which differs between libraries."""
    header = f'{image_name}\n{text}\n{scene.image.shape}\n'.encode()
    return hashlib.sha256(header + scene.image.tobytes()).digest()


def _combined(digests: Iterable[bytes]) -> str:
    return hashlib.sha256(b''.join(digests)).hexdigest()


@contextmanager
def _workers(num_workers: int, scenes: int) -> Iterator[_Map]:
    """The function that maps `_render` over jobs in order: in new processes, or in this one if those would not pay off."""
    if num_workers < 2 or scenes < _POOL_PAYS:
        yield map
        return
    with multiprocessing.get_context('spawn').Pool(num_workers) as pool:
        yield partial(pool.imap, chunksize=8)


def _run(map_jobs: _Map, seed: int, split: str, count: int, folder: Path | None = None) -> list[_Outcome]:
    """The outcomes of the first `count` scenes of a split, in order."""
    jobs = [_Job(seed, split, i, folder) for i in range(count)]
    return list(progress(map_jobs(_render, jobs), split, 'scene', total=count, smoothing=0.05))


def _is_done(folder: Path, seed: int, counts: dict[str, int]) -> bool:
    """Whether an earlier run wrote this folder with the same version and seed and at least these splits.

    Raises:
        UserError: The folder holds something else.
    """
    if not folder.exists():
        return False
    try:
        done = json.loads((folder / _DONE).read_text(encoding='utf-8'))
        same = (done['version'], done['seed']) == (VERSION, seed)
        same = same and all(done['counts'].get(split) == count for split, count in counts.items())
        # folders of pretraining scenes from before there was this file are written anew
        return same and all((folder / LOOKING[split]).is_file() for split in counts if split in LOOKING)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f'{folder} exists, but {_DONE} does not say that it holds the demo set: choose another folder or remove it'
        ) from error


def _write_parts(root: Path, names: Sequence[str], seed: int, counts: dict[str, int], num_workers: int) -> None:
    """Write the splits of folders that show the same scenes beside them under a temporary name, then rename them."""
    done = [_is_done(root / name, seed, counts) for name in names]
    if all(done):
        return
    root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f'.{names[0]}.', dir=root))
    try:
        hashes: dict[str, str] = {}
        referred: list[Referring] = []
        with _workers(num_workers, sum(counts.values())) as map_jobs:
            for split, count in counts.items():
                outcomes = _run(map_jobs, seed, split, count, _split_folder(unfinished / names[0], split))
                digests = [o.digest for o in outcomes]
                hashes[split] = _combined(digests)
                _warn_if_changed(seed, split, digests)
                _write_common_file(unfinished / names[0], split, [line for o in outcomes for line in o.lines])
                if split in PRETRAIN_SPLITS:
                    lines = [line for o in outcomes for line in o.looking]
                    _write_lines(unfinished / names[0] / LOOKING[split], lines)
                referred += [o.referring for o in outcomes if o.referring is not None]
        if REFER_SEG in names:
            write_referring(unfinished / REFER_SEG, referred)
            write_several(unfinished / FOLDER, [row for scene in referred for row in scene.several])
        record = {'version': VERSION, 'seed': seed, 'counts': counts, 'sha256': hashes}
        for name in names:
            (unfinished / name / _DONE).write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
        for name in names:
            if (root / name).exists():
                shutil.rmtree(root / name)
            (unfinished / name).rename(root / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_common_file(part: Path, split: str, lines: list[str]) -> None:
    """Write the rows of a pretraining split, or the explanations of the training split."""
    if split in PRETRAIN_SPLITS:
        name = 'train.jsonl' if split == 'pretrain' else 'val.jsonl'
        _write_lines(part / name, lines)
    elif split == 'train':
        explanatory = part / 'ReasonSeg' / 'explanatory' / 'train.json'
        explanatory.parent.mkdir(parents=True)
        explanatory.write_text('[' + ',\n'.join(lines[:EXPLANATIONS]) + ']\n', encoding='utf-8')


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')


def _split_folder(part: Path, split: str) -> Path:
    """Create the folder of a split's files, and that of its images."""
    folder = part if split in PRETRAIN_SPLITS else part / 'ReasonSeg' / split
    (folder / 'images' if split in PRETRAIN_SPLITS else folder).mkdir(parents=True, exist_ok=True)
    return folder


def _warn_if_changed(seed: int, split: str, digests: list[bytes]) -> None:
    """Warn if the first scenes differ from the recorded ones, as far as they can be compared."""
    recorded = json.loads(SPLITS_FILE.read_text(encoding='utf-8')) if SPLITS_FILE.is_file() else {}
    expected = recorded.get('splits', {}).get(split)
    if expected is None or recorded['seed'] != seed or len(digests) < PREFIX:
        return
    if _combined(digests[:PREFIX]) != expected['prefix']:
        _LOGGER.warning('the %s scenes differ from %s: numpy or OpenCV draw differently here', split, SPLITS_FILE.name)


def write_demo(
    root: str | Path,
    splits: Sequence[str] = REASONING_SPLITS,
    pretrain_scenes: int = 0,
    pretrain_val_scenes: int = 300,
    seed: int = SEED,
    num_workers: int = 2,
    limit: int | None = None,
) -> Path:
    """Write `root/reason_seg`, of the same scenes `root/refer_seg` and `root/muse`, and on request `root/pretrain`.

    A part that exists is kept.

    Args:
        splits: The splits among train, val and test to write.
        pretrain_scenes: Number of pretraining scenes; 0 writes no `pretrain` folder.
        pretrain_val_scenes: Number of held-out pretraining scenes, at least one if there are pretraining scenes.
        seed: The recorded hashes belong to the default.
        num_workers: Number of processes; below 2, or for a few hundred scenes, everything runs in this one.
        limit: Maximum number of scenes per split, at least one, for a quick look.

    Returns:
        The root.

    Raises:
        UserError: An unknown split, a number too small, a folder that is not the demo's own, or one that can't be written.
    """
    root = Path(root)
    if unknown := [s for s in splits if s not in COUNTS]:
        raise UserError(f'unknown split {unknown[0]!r} of the demo set. Known: {", ".join(COUNTS)}')
    if not splits and not pretrain_scenes:
        raise UserError(f'no split is asked for, and no scenes to pretrain on. Known splits: {", ".join(COUNTS)}')
    check_at_least(0, seed=seed, pretrain_scenes=pretrain_scenes)
    check_at_least(1, pretrain_val_scenes=pretrain_val_scenes, **({} if limit is None else {'limit': limit}))
    parts: dict[tuple[str, ...], dict[str, int]] = {('reason_seg', REFER_SEG, FOLDER): {s: COUNTS[s] for s in splits}}
    if pretrain_scenes:
        parts[('pretrain',)] = {'pretrain': pretrain_scenes, 'pretrain_val': pretrain_val_scenes}
    try:
        for names, counts in parts.items():
            if counts:
                counts = {s: count if limit is None else min(limit, count) for s, count in counts.items()}
                _write_parts(root, names, seed, counts, num_workers)
    except OSError as error:
        raise UserError(f'the demo set could not be written to {root}: {error}') from error
    return root


def split_hashes(seed: int = SEED, prefix_only: bool = False, num_workers: int = 2) -> dict[str, dict[str, int | str]]:
    """Redraw the splits without storing them: count, `prefix` and (unless prefix_only) `sha256` by split."""
    hashes: dict[str, dict[str, int | str]] = {}
    counts = {**COUNTS, 'pretrain': RECORDED_PRETRAIN}
    with _workers(num_workers, PREFIX * len(counts) if prefix_only else sum(counts.values())) as map_jobs:
        for split, count in counts.items():
            digests = [o.digest for o in _run(map_jobs, seed, split, PREFIX if prefix_only else count)]
            hashes[split] = {'count': count, 'prefix': _combined(digests[:PREFIX])}
            if not prefix_only:
                hashes[split]['sha256'] = _combined(digests)
    return hashes


def verify_splits(prefix_only: bool = False, num_workers: int = 2) -> list[str]:
    """Redraw the splits and compare them with `splits.json`.

    Returns:
        The names of the splits that differ; empty if all match.
    """
    recorded = json.loads(SPLITS_FILE.read_text(encoding='utf-8'))
    drawn = split_hashes(recorded['seed'], prefix_only, num_workers)
    return [s for s, hashes in drawn.items() if any(recorded['splits'][s][key] != value for key, value in hashes.items())]


def record_splits(num_workers: int = 2) -> None:
    """Rewrite `splits.json`; run it after every change of drawings or texts, and change `VERSION` too."""
    record = {'version': VERSION, 'seed': SEED, 'held_out': HELD_OUT, 'splits': split_hashes(num_workers=num_workers)}
    SPLITS_FILE.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
