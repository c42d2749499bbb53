"""The data of the published recipe, two images a forward and process.

Until the mixture (sem_seg 9 : refer_seg 3 : vqa 3 : reason_seg 1) is part of this repository, ReasonSeg alone: the scores that
the configs state do not follow from it.
"""

from mmengine.config import read_base

with read_base():
    from .reason_seg import *  # the one line to exchange: from .mix import *

data_root = 'data'
train_dataloader.update(batch_size=2, num_workers=4)
val_dataloader.update(batch_size=1, num_workers=4)
test_dataloader.update(batch_size=1, num_workers=4)
