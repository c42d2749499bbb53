"""Speed of the data: opening an index, memory per worker, samples per second, and time per stage."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from lisa_mm import PACKAGE_DIR
from lisa_mm.datasets import ReasonSegDataset, ReferSegDataset, SemSegDataset
from lisa_mm.datasets.base import BaseSegDataset
from lisa_mm.datasets.index import CACHE_VARIABLE
from lisa_mm.datasets.transforms import DecodeMasks, EncodeConversations, LoadImage, ResizeForMaskDecoder, ResizeForVisionTower

SIZE, PHOTO = (480, 640), (1200, 1600)
CLIP = dict(size={'shortest_edge': 224}, crop_size={'height': 224, 'width': 224}, do_center_crop=True, do_resize=True, resample=3)
SAM = dict(image_size=1024, resize='longest_side')
FILES = 64  # distinct jpgs; the others are hard links to them, so 20,000 images fit anywhere


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    spec = dict(
        pretrained=args.tokenizer or str(PACKAGE_DIR / 'weights' / 'nano' / 'tokenizer'), template='plain', wrap_image=True
    )
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = str(Path(folder) / 'cache')
        root = Path(folder) / 'root'
        write_refcoco(root, args.images)
        write_ade(root, args.label_maps)
        write_reason_seg(root, args.photos)
        for name, build in (
            (f'refcoco-like, {args.images} images', lambda pipeline=None: ReferSegDataset(str(root), pipeline=pipeline)),
            (f'ade20k-like, {args.label_maps} images', lambda pipeline=None: SemSegDataset(str(root), pipeline=pipeline)),
            (f'reasonseg-like, {args.photos} images', lambda pipeline=None: ReasonSegDataset(str(root), pipeline=pipeline)),
        ):
            results[name] = measure(build, spec, args.samples)
    print(table(results))
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1), encoding='utf-8')


def jpgs(folder: Path, names: list[str], rng: np.random.Generator, size: tuple[int, int] = SIZE) -> None:
    """Photograph-like noise of a height and width under many names."""
    folder.mkdir(parents=True)
    for number in range(min(FILES, len(names))):
        small = rng.integers(256, size=(size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC).save(folder / names[number], quality=90)
    for number in range(FILES, len(names)):
        os.link(folder / names[number % FILES], folder / names[number])


def write_refcoco(root: Path, count: int) -> None:
    """Per image: 10 annotations of 20 to 60 points, 2.5 of them referred to, and 7 sentences."""
    import pickle

    rng = np.random.default_rng(0)
    images, annotations, refs = [], [], []
    for i in range(count):
        images.append({'id': i, 'file_name': f'COCO_train2014_{i:012d}.jpg', 'height': SIZE[0], 'width': SIZE[1]})
        for a in range(10):
            polygon = blob(rng, int(rng.integers(20, 60)))
            annotations.append({'id': 10 * i + a, 'image_id': i, 'category_id': 1, 'segmentation': [polygon], 'iscrowd': 0})
        for r, sentences in enumerate((3, 2, 2)):
            said = [{'sent': f'the {r} thing on the left of number {s}', 'raw': '', 'tokens': []} for s in range(sentences)]
            number = 10 * i + r
            refs.append({'ref_id': number, 'ann_id': number, 'image_id': i, 'split': 'train', 'sentences': said})
    folder = root / 'refer_seg' / 'refcoco'
    folder.mkdir(parents=True)
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'x'}]}
    (folder / 'instances.json').write_text(json.dumps(content))
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs))
    jpgs(root / 'refer_seg/images/mscoco/images/train2014', [image['file_name'] for image in images], rng)


def blob(rng: np.random.Generator, points: int) -> list[float]:
    """A round polygon as a flat list."""
    angles = np.sort(rng.random(points)) * 2 * np.pi
    radius = rng.uniform(20, 100) * rng.uniform(0.8, 1.2, points)
    x = np.clip(rng.uniform(50, 590) + radius * np.cos(angles), 0, SIZE[1])
    y = np.clip(rng.uniform(50, 430) + radius * np.sin(angles), 0, SIZE[0])
    return np.stack([x, y], 1).round(2).ravel().tolist()


def write_ade(root: Path, count: int) -> None:
    """Label maps of about 10 classes in patches."""
    rng = np.random.default_rng(1)
    names = [f'ADE_train_{i:08d}' for i in range(count)]
    jpgs(root / 'ade20k/images/training', [f'{name}.jpg' for name in names], rng)
    maps = root / 'ade20k/annotations/training'
    maps.mkdir(parents=True)
    for name in names:
        small = rng.choice(rng.integers(0, 151, size=10), size=(12, 16)).astype(np.uint8)
        Image.fromarray(small).resize((SIZE[1], SIZE[0]), Image.Resampling.NEAREST).save(maps / f'{name}.png')


def write_reason_seg(root: Path, count: int) -> None:
    """Photographs of 1200 x 1600 pixels, each with three texts about a target of two polygons."""
    rng = np.random.default_rng(2)
    folder = root / 'reason_seg/ReasonSeg/train'
    jpgs(folder, [f'{i}.jpg' for i in range(count)], rng, PHOTO)
    for i in range(count):
        outlines = [2.5 * np.reshape(blob(rng, int(rng.integers(30, 90))), (-1, 2)) for _ in range(2)]
        shapes = [{'label': 'target', 'shape_type': 'polygon', 'points': outline.round(1).tolist()} for outline in outlines]
        texts = [f'Which of these things could be put to use number {text} of picture {i}?' for text in range(3)]
        content = {'text': texts, 'is_sentence': True, 'shapes': shapes}
        (folder / f'{i}.json').write_text(json.dumps(content), encoding='utf-8')


def seconds(action: Callable[[], Any]) -> float:
    """Wall time of a call."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def measure(build: Callable[..., BaseSegDataset], spec: dict[str, Any], samples: int) -> dict[str, Any]:
    """Measure all numbers of one data set."""
    result: dict[str, Any] = {'open cold, s': seconds(build), 'open warm, s': seconds(build)}
    dataset = build()
    result['index, MB'] = dataset.index.data.nbytes / 1e6
    result |= stages(dataset, spec, samples)
    pipeline = transforms(spec)
    loaded = build(pipeline)
    result['memory of an extra worker, MB'] = worker_memory(loaded)
    for workers in (1, 2):
        result[f'samples/s, {workers} workers'] = throughput(loaded, workers, samples)
    return result


def transforms(spec: dict[str, Any]) -> list[Any]:
    """The pipeline of a training."""
    resized: list[Any] = [ResizeForVisionTower(CLIP), ResizeForMaskDecoder(SAM)]  # pyright: ignore[reportArgumentType] - a part of each
    return [LoadImage(), DecodeMasks(), *resized, EncodeConversations(spec, 256)]


def stages(dataset: BaseSegDataset, spec: dict[str, Any], samples: int) -> dict[str, float]:
    """Milliseconds per stage of a sample; 'images alone' is decoding, resizing and the CLIP processor."""
    load, masks, clip, sam, text = transforms(spec)
    named = [('decode', load), ('mask', masks), ('CLIP', clip), ('resize', sam), ('text', text)]
    spent = dict.fromkeys(['index', *(name for name, _ in named)], 0.0)
    for n in range(samples + 5):
        begin = time.perf_counter()
        sample = dataset[n]
        passed = {'index': time.perf_counter() - begin}
        for name, transform in named:
            begin = time.perf_counter()
            sample = transform(sample)
            passed[name] = time.perf_counter() - begin
        if n >= 5:  # the first samples load the tokenizer
            spent = {name: spent[name] + passed[name] for name in spent}
    times = {f'{name}, ms': 1000 * value / samples for name, value in spent.items()}
    images = sum(spent[name] for name in ('decode', 'CLIP', 'resize'))
    return {**times, 'sample / images alone': sum(spent.values()) / images}


def identity(batch: list[Any]) -> list[Any]:
    """No collation, so that the loader's own work is not measured."""
    return [len(batch)]


class Indices:
    """Counts up endlessly."""

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1


def loader(dataset: BaseSegDataset, workers: int, collate: Callable[[list[Any]], Any] = identity) -> Iterator[Any]:
    """Batches of one."""
    return iter(DataLoader(dataset, batch_size=1, sampler=Indices(), num_workers=workers, collate_fn=collate))


def throughput(dataset: BaseSegDataset, workers: int, samples: int) -> float:
    """Samples per second, after the workers have started."""
    batches = loader(dataset, workers)
    for _ in range(8):
        next(batches)
    return samples / seconds(lambda: [next(batches) for _ in range(samples)])


def private_memory(batch: list[Any]) -> list[float]:
    """A worker's private memory in MB, shared with no other process."""
    fields = dict(line.split(':', 1) for line in Path('/proc/self/smaps_rollup').read_text().splitlines()[1:])
    return [sum(int(fields[key].split()[0]) for key in ('Private_Clean', 'Private_Dirty')) / 1000]


def worker_memory(dataset: BaseSegDataset) -> float:
    """Private memory of a worker in MB after 40 samples (Linux; 0 elsewhere)."""
    if not Path('/proc/self/smaps_rollup').exists():
        return 0.0
    batches = loader(dataset, 1, private_memory)
    return max(next(batches)[0] for _ in range(40))


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results side by side, as text."""
    names = list(results)
    lines = [f'{"":32s}' + ''.join(f'{name:>32s}' for name in names)]
    lines += [f'{key:32s}' + ''.join(f'{results[name][key]:32.3f}' for name in names) for key in results[names[0]]]
    return '\n'.join(lines)
