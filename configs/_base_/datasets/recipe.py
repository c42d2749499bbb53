"""The data of the published recipe, two images per forward and process."""

from mmengine.config import read_base

with read_base():
    from .mix import *

data_root = 'data/lisa'
train_dataloader.update(batch_size=2, num_workers=4)
val_dataloader.update(batch_size=1, num_workers=4)
test_dataloader.update(batch_size=1, num_workers=4)
# the configs state scores on ReasonSeg test
test_dataloader['dataset'] = dict(type='ReasonSegDataset', split='test', test_mode=True, pipeline=pipeline)
