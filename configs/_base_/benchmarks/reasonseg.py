"""ReasonSeg (Lai et al., CVPR 2024): gIoU and cIoU, of the test split also for short and long questions.

Files below data_root: ``reason_seg/ReasonSeg/{val,test}``, a json beside each image.
Protocol: LISA (dvlab-research/LISA, ``validate`` of ``train_ds.py``); its tables split test by ``is_sentence``.
"""

benchmark = dict(
    title='ReasonSeg',
    splits=dict(
        val=dict(type='ReasonSegDataset', split='val', test_mode=True),
        test=dict(type='ReasonSegDataset', split='test', test_mode=True),
    ),
    metrics=[dict(type='SegIoUMetric')],
)
