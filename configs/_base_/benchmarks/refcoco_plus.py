"""refCOCO+, split by UNC (Yu et al., ECCV 2016): cIoU over expressions, mIoU, Pr@0.5 to 0.9.

Files below data_root: ``refer_seg/refcoco+/{refs(unc).p, instances.json}``;
images in ``refer_seg/images/mscoco/images/train2014``.
Protocol: LISA (dvlab-research/LISA, ``validate`` of ``train_ds.py``) for cIoU; LAVT (yz93/LAVT-RIS, ``test.py``) for mIoU and Pr.
"""

benchmark = dict(
    title='refCOCO+',
    splits=dict(
        val=dict(type='ReferSegDataset', name='refcoco+', split='val', test_mode=True),
        testA=dict(type='ReferSegDataset', name='refcoco+', split='testA', test_mode=True),
        testB=dict(type='ReferSegDataset', name='refcoco+', split='testB', test_mode=True),
    ),
    metrics=[dict(type='ReferIoUMetric')],
)
