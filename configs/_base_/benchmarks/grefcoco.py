"""gRefCOCO (Liu et al., "GRES", CVPR 2023): expressions of one, several or no object; gIoU, cIoU, N-acc, T-acc.

Files below data_root: ``refer_seg/grefcoco/{grefs(unc).p or grefs(unc).json, instances.json}``;
images in ``refer_seg/images/mscoco/images/train2014``.
Protocol: ReLA (henghuiding/ReLA, ``gres_model/evaluation/refer_evaluation.py``) and GSVA (LeapLabTHU/GSVA).
"""

benchmark = dict(
    title='gRefCOCO',
    splits=dict(
        val=dict(type='ReferSegDataset', name='grefcoco', split='val', test_mode=True),
        testA=dict(type='ReferSegDataset', name='grefcoco', split='testA', test_mode=True),
        testB=dict(type='ReferSegDataset', name='grefcoco', split='testB', test_mode=True),
    ),
    metrics=[dict(type='GeneralizedReferMetric')],
)
