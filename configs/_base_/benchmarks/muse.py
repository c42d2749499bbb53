"""MUSE: questions whose answers name several targets (PixelLM).

Files: muse/muse_val.json, muse_test_less.json (at most 3 targets) and muse_test_many.json; images in
refer_seg/images/mscoco/images: train2014, train2017 and val2017. Published protocol: the model says the answer (PixelLM,
utils/multi_reason_seg_val_dataset.py); masks and targets are matched one to one.
"""

benchmark = dict(
    title='MUSE',
    splits=dict(
        val=dict(type='MuseDataset', split='val', test_mode=True),
        test_less=dict(type='MuseDataset', split='test_less', test_mode=True),
        test_many=dict(type='MuseDataset', split='test_many', test_mode=True),
    ),
    metrics=[dict(type='MultiTargetMetric')],
)
