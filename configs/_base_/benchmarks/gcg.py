"""GCG: a description of the image whose phrases have masks (GLaMM).

Files: GranDf/annotations/val_test/{val,test}_gcg_coco_{caption,mask}_gt.json; images in GranDf/GranDf_HA_images/val_test.
Published protocol: the model says the description (GLaMM, eval/gcg/infer.py and evaluate.py).
"""

benchmark = dict(
    title='GCG',
    splits=dict(
        val=dict(type='GroundedCaptionDataset', split='val', test_mode=True),
        test=dict(type='GroundedCaptionDataset', split='test', test_mode=True),
    ),
    metrics=[dict(type='GroundedCaptionMetric')],
)
