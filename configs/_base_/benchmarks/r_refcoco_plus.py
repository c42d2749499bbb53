"""R-RefCOCO+ (Wu et al., "Towards robust referring image segmentation", TIP 2024): right and wrong sentences of a ref.

Files below data_root: ``refer_seg/rrefcoco+/{refs(unc).p, instances.json}`` (another file's name: ``split_by``);
images in ``refer_seg/images/mscoco/images/train2014``.
Protocol: RefSegformer (jianzongwu/robust-ref-seg, ``utils/validation.py``), which evaluates val: mIoU and oIoU over
right sentences, r (share of wrong ones without a mask) and rIoU per ref.
"""

benchmark = dict(
    title='R-RefCOCO+',
    splits=dict(
        val=dict(type='ReferSegDataset', name='rrefcoco+', split='val', test_mode=True),
    ),
    metrics=[dict(type='RobustReferMetric')],
)
