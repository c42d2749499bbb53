"""ReasonSeg alone: train, with one split for validation and one for testing."""

from mmengine.config import read_base

with read_base():
    from .pipeline import pipeline

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='SeekableSampler'),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(type='ReasonSegDataset', split='train', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(type='ReasonSegDataset', split='val', test_mode=True, pipeline=pipeline),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(type='ReasonSegDataset', split='test', test_mode=True, pipeline=pipeline),
)
