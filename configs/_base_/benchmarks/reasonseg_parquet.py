"""ReasonSeg as parquet (Seg-Zero, VisionReasoner): gIoU; regions that ReasonSeg ignores belong to the target.

Files below data_root: ``reason_seg/ReasonSeg_val`` and ``reason_seg/ReasonSeg_test``, copies of the published folders
Ricky06662/ReasonSeg_val and Ricky06662/ReasonSeg_test with ``data/test-00000-of-0000N.parquet``. Needs pyarrow.
Protocol: Seg-Zero and VisionReasoner (``evaluation_segmentation.py``), which ask generated answers and give gIoU only.
"""

benchmark = dict(
    title='ReasonSeg (parquet)',
    splits=dict(
        val=dict(type='ReasonSegParquetDataset', file='reason_seg/ReasonSeg_val', test_mode=True),
        test=dict(type='ReasonSegParquetDataset', file='reason_seg/ReasonSeg_test', test_mode=True),
    ),
    metrics=[dict(type='SegIoUMetric')],
)
