"""The published mixture: sem_seg 9 : refer_seg 3 : vqa 3 : reason_seg 1; validation on ReasonSeg val.

data_root has the layout of the published program's --dataset_dir. Delete the lines of data sets that you don't have.
"""

from mmengine.config import read_base

with read_base():
    from .pipeline import pipeline

sem_seg = [
    dict(type='SemSegDataset', name='ade20k'),
    dict(type='SemSegDataset', name='cocostuff'),
    dict(type='PartSegDataset', name='pascal_part'),
    dict(type='PartSegDataset', name='paco_lvis'),
    dict(type='SemSegDataset', name='mapillary'),
]
refer_seg = [
    dict(type='ReferSegDataset', name='refclef'),
    dict(type='ReferSegDataset', name='refcoco'),
    dict(type='ReferSegDataset', name='refcoco+'),
    dict(type='ReferSegDataset', name='refcocog'),  # split by umd
]
vqa = [dict(type='VQADataset', file='llava_dataset/llava_instruct_150k.json')]
reason_seg = [dict(type='ReasonSegDataset', split='train', explanatory=0.1)]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeekableSampler'),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(
        type='MixtureDataset',
        datasets=dict(sem_seg=sem_seg, refer_seg=refer_seg, vqa=vqa, reason_seg=reason_seg),
        rates=dict(sem_seg=9, refer_seg=3, vqa=3, reason_seg=1),
        # training images in these are left out; the published program only claimed so
        exclude_val=[
            dict(type='ReasonSegDataset', split='val', test_mode=True),
            dict(type='ReferSegDataset', name='refcoco', split='val', test_mode=True),
            dict(type='ReferSegDataset', name='refcoco+', split='val', test_mode=True),
            dict(type='ReferSegDataset', name='refcocog', split='val', test_mode=True),
        ],
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(type='ReasonSegDataset', split='val', test_mode=True, pipeline=pipeline),
)
# python tools/test.py ... --cfg-options changes it: any ReasonSegDataset or ReferSegDataset split
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(type='ReferSegDataset', name='refcoco', split='val', test_mode=True, pipeline=pipeline),
)
