"""Convert any registered data set to our simple schema."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..datasets.base import BaseSegDataset
from ..datasets.images import image_size
from ..datasets.masks import decode_mask
from ..datasets.parquet import is_address, unpack
from ..datasets.run_lengths import encode_mask
from ..datasets.tokenizer import count_masks
from ..errors import ConfigError
from ..registry import DATASETS


def convert(entry: dict[str, Any], path: str | Path) -> int:
    """Write a data set as a jsonl for :class:`lisa_mm.datasets.JsonlSegDataset`; images stay where they are;
    those inside parquet files are written into ``images`` beside the jsonl.

    Ignored pixels of a ReasonSeg json become background, as in training.

    Args:
        entry: Config of the data set.
        path: The jsonl to write; its image paths are relative to its folder.

    Returns:
        The number of rows.
    """
    dataset = DATASETS.build({key: value for key, value in entry.items() if key != 'pipeline'})
    if not isinstance(dataset, BaseSegDataset):
        raise ConfigError(f'{entry["type"]} is no single data set; convert its parts.')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open('w', encoding='utf-8') as file:
        for number in range(len(dataset)):
            record = dataset.get_data_info(number)
            image = record['img_path']
            size = image_size(image) if image else (0, 0)
            if image and is_address(image):
                image = unpack(image, path.parent / 'images')
            for row in dataset.rows(record):
                written = {key: row[key] for key in ('phrase', 'question', 'system', 'turns') if key in row}
                masks = [encode_mask(decode_mask(spec, *size, record['sample_id']) == 1) for spec in row['masks']]
                if image:
                    written = {'image': os.path.relpath(image, path.parent), **written}
                if masks or count_masks(str(written.get('turns')), dataset.mask_tokens):
                    written['masks'] = masks
                file.write(json.dumps(written, ensure_ascii=False) + '\n')
                count += 1
    return count
