"""Resize, padding, normalisation and the CLIP processor against the original's tensors of every image."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from lisa_mm.datasets.transforms import LoadImage, ResizeForMaskDecoder, ResizeForVisionTower
from lisa_mm.models.data_preprocessor import SegDataPreprocessor

SAM = dict(image_size=1024, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), resize='longest_side')


@pytest.fixture(scope='module')
def clip(golden):
    """The image processor's arguments, from the folder's own CLIP."""
    from transformers import CLIPImageProcessorPil

    folder = next(golden.models.glob('clip*/preprocessor_config.json')).parent
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    keys = ('size', 'crop_size', 'do_resize', 'do_center_crop', 'resample', 'image_mean', 'image_std')
    return {key: getattr(processor, key) for key in keys}


def prepared(golden, path, clip):
    sample = {'sample_id': path, 'img_path': str(golden.root / 'dataset' / path)}
    for transform in (LoadImage(), ResizeForVisionTower(clip), ResizeForMaskDecoder(SAM)):
        sample = transform(sample)
    return sample


def test_images(golden, clip, record_deviation):
    table = json.loads((golden.root / 'data' / 'images.json').read_text())
    probes = np.load(golden.root / 'data' / 'image_probes.npz')
    preprocessor = SegDataPreprocessor(clip, SAM)
    for path, wanted in table.items():
        sample = prepared(golden, path, clip)
        assert list(sample['original_size']) == wanted['size_hw']
        assert hashlib.sha256(sample['img'].tobytes()).hexdigest()[:16] == wanted['decoded_rgb_sha256_16']
        assert list(sample['resized_size']) == wanted['resized_hw']
        inputs = {'pixel_values': torch.from_numpy(sample['pixel_values'])[None]}
        inputs['mask_images'] = torch.from_numpy(sample['mask_image'])[None]
        holder = type('Sample', (), {'resized_size': sample['resized_size']})()
        out = preprocessor({'inputs': inputs, 'data_samples': [holder]})['inputs']
        sam, vision = out['mask_images'][0].numpy(), out['pixel_values'][0].numpy()
        assert list(sam.shape) == wanted['sam_shape']
        assert list(vision.shape) == wanted['clip_shape']
        index = wanted['index']
        check_exact(sam[:, 8::64, 8::64], probes[f'sam_{index}'], SAM['mean'], SAM['std'], inside(sample['resized_size']))
        mean, std = (255 * np.array(clip[key]) for key in ('image_mean', 'image_std'))
        check_exact(vision[:, 4::16, 4::16], probes[f'clip_{index}'], mean, std, None)
        for group, ours, theirs in (
            ('sam', sam[:, 8::64, 8::64], probes[f'sam_{index}']),
            ('clip', vision[:, 4::16, 4::16], probes[f'clip_{index}']),
        ):
            deviation = float(np.abs(ours - theirs).max())
            record_deviation(f'normalised image, {group}', deviation)
            assert deviation <= 1e-6, (path, group)
        for group, tensor in (('sam', sam), ('clip', vision)):
            # a sum over 3 million float32 values: one grey level anywhere would be 0.015
            assert abs(float(tensor.astype(np.float64).sum()) - wanted[f'{group}_sum']) < 0.01, (path, group)


def inside(size):
    """Which probes lie inside the resized image."""
    rows, columns = np.arange(8, 1024, 64) < size[0], np.arange(8, 1024, 64) < size[1]
    return rows[:, None] & columns[None]


def check_exact(ours, theirs, mean, std, valid):
    """Both tensors, taken back to grey levels, are the same whole numbers."""
    mean, std = np.array(mean)[:, None, None], np.array(std)[:, None, None]
    levels = [np.rint(tensor * std + mean) for tensor in (ours, theirs)]
    equal = levels[0] == levels[1]
    assert equal[:, valid].all() if valid is not None else equal.all()
