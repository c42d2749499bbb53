"""The four parts of this package in the nano model, from scratch.

python tools/train.py examples/my_dataset/config.py --cfg-options data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from ...configs.lisa.lisa_nano_pretrain import *

custom_imports = dict(imports=['my_dataset'], allow_failed_imports=False)

pipeline.insert(1, dict(type='GreyImage', probability=0.3))
model['mllm']['projector'] = dict(type='GatedProjector')
model['losses']['bce'] = dict(type='FocalMaskLoss', weight=20.0)
train_dataloader['dataset'] = dict(type='BoxDataset', pipeline=pipeline)
val_dataloader['dataset'] = dict(type='BoxDataset', test_mode=True, pipeline=pipeline)
