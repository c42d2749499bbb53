"""FP-RefCOCOg (Wu et al., "See, Say, and Segment", CVPR 2024): expressions of which some name what is not there.

Files below data_root: ``refer_seg/fprefcocog/{refs(berkeley_exclude_unified).p, instances.json}``;
images in ``refer_seg/images/mscoco/images/train2014``.
Protocol: SESAME (see-say-segment/sesame, ``eval_sesame.py``), which evaluates val: See is the accuracy of "is it there", Segment
is cIoU with an empty target for a false premise.
"""

benchmark = dict(
    title='FP-RefCOCOg',
    splits=dict(
        val=dict(type='ReferSegDataset', name='fprefcocog', split='val', test_mode=True),
    ),
    metrics=[dict(type='FalsePremiseMetric')],
)
