"""refCOCOg, split by UMD (Yu et al., ECCV 2016; Mao et al., CVPR 2016): cIoU over expressions, mIoU, Pr@0.5 to 0.9.

Files below data_root: ``refer_seg/refcocog/{refs(umd).p, instances.json}``;
images in ``refer_seg/images/mscoco/images/train2014``.
Protocol: LISA (dvlab-research/LISA, ``validate`` of ``train_ds.py``) for cIoU; LAVT (yz93/LAVT-RIS, ``test.py``) for mIoU and Pr.
"""

benchmark = dict(
    title='refCOCOg',
    splits=dict(
        val=dict(type='ReferSegDataset', name='refcocog', split='val', test_mode=True),
        test=dict(type='ReferSegDataset', name='refcocog', split='test', test_mode=True),
    ),
    metrics=[dict(type='ReferIoUMetric')],
)
