"""Your own data in the simple schema: train.jsonl and val.jsonl below data_root (docs/train_on_my_data.md).

python tools/train.py configs/lisa/lisa_my_data.py --cfg-options data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from .lisa_nano import *

data_root = 'data/my'
train_dataloader['dataset'] = dict(type='JsonlSegDataset', file='train.jsonl', pipeline=pipeline)
val_dataloader['dataset'] = dict(type='JsonlSegDataset', file='val.jsonl', test_mode=True, pipeline=pipeline)
test_dataloader = None
test_cfg = None
test_evaluator = None
