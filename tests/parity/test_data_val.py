"""Every validation item against the original's: images, masks, ids and labels, exactly."""

from __future__ import annotations

import json

import numpy as np

from lisa_mm.datasets import ReferSegDataset
from lisa_mm.datasets.transforms import DecodeMasks, EncodeConversations, LoadImage, ResizeForMaskDecoder

from .golden import validation_set


def test_validation_items(golden):
    table = json.loads((golden.root / 'data' / 'val.json').read_text())
    arrays = np.load(golden.root / 'data' / 'val.npz')
    tokenizer = dict(pretrained=str(golden.models / 'llava-tiny-base'), template='llava_v1', wrap_image=True)
    image_size = json.loads((golden.root / 'data' / 'items.json').read_text())['image_size']
    pipeline = [
        LoadImage(),
        DecodeMasks(),
        ResizeForMaskDecoder(dict(image_size=image_size, resize='longest_side')),
        EncodeConversations(tokenizer, 1, max_length=None),
    ]
    for spec, count in table['counts'].items():
        dataset = validation_set(golden, spec, pipeline)
        assert len(dataset) == count, spec
        ours = {sample['img_path']: sample for sample in (dataset[n] for n in range(count))}
        for item in (entry for entry in table['items'] if entry['spec'] == spec):
            sample = ours[str(golden.root / 'dataset' / item['image'])]
            name = item['id']
            # annotations of overlapping parts: the original adds them up to 2, ours stay 1
            wanted = arrays[f'masks_{name}']
            wanted = np.where(wanted == 255, 255, np.minimum(wanted, 1))
            assert (sample['gt_masks'] == wanted).all(), (spec, item['image'])
            assert list(sample['resized_size']) == item['resize']
            assert list(sample['original_size']) == item['label_shape']
            for row, (ids, labels) in enumerate(sample['rows']):
                length = int(arrays[f'attention_masks_{name}'][row].sum())
                assert ids.tolist() == arrays[f'input_ids_{name}'][row][:length].tolist(), (spec, row)
                assert labels.tolist() == arrays[f'labels_{name}'][row][:length].tolist(), (spec, row)
            assert len(sample['rows']) == len(arrays[f'input_ids_{name}'])


def test_a_validation_of_grefcoco_runs(golden):
    """The original's process ended here."""
    dataset = ReferSegDataset(
        str(golden.root / 'dataset'), name='grefcoco', split='val', test_mode=True, pipeline=[LoadImage(), DecodeMasks()]
    )
    sums = [mask.sum() for n in range(len(dataset)) for mask in dataset[n]['gt_masks']]
    assert 0 in sums  # an expression of nothing
    assert max(sums) > 0
