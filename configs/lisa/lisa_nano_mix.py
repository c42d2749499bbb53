"""The whole published mixture at nano width: every format, all four groups, two CPU cores.

python tools/train.py configs/lisa/lisa_nano_mix.py --cfg-options data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from .lisa_nano import *

    # isort: split
    from .._base_.datasets.mix import test_dataloader, train_dataloader, val_dataloader

data_root = 'data/lisa'
train_dataloader.update(batch_size=2, num_workers=1)
val_dataloader.update(num_workers=1)
test_dataloader.update(num_workers=1)
