"""Your own data in our schema (docs/train_on_my_data.md).

File: test.jsonl in data_root; images below its folder. Every phrase is a question; in a file without phrases, every row with a
mask. The protocol is LISA's on ReasonSeg: gIoU over questions, cIoU over pixels.
"""

benchmark = dict(
    title='own data',
    splits=dict(test=dict(type='JsonlSegDataset', file='test.jsonl', test_mode=True)),
    metrics=[dict(type='SegIoUMetric')],
)
