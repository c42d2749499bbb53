"""The referring data sets alone, images drawn uniformly; validation on refCOCO val, test on refCOCO testA."""

from mmengine.config import read_base

with read_base():
    from .mix import *

train_dataloader['dataset'].update(datasets=dict(refer_seg=refer_seg), rates=dict(refer_seg=1))
val_dataloader['dataset'] = dict(type='ReferSegDataset', name='refcoco', split='val', test_mode=True, pipeline=pipeline)
test_dataloader['dataset'] = dict(type='ReferSegDataset', name='refcoco', split='testA', test_mode=True, pipeline=pipeline)
