"""Image, masks and conversation of a sample; what the transforms need to know follows from the model."""

max_length = 512

pipeline = [
    dict(type='LoadImage'),
    dict(type='DecodeMasks'),
    dict(type='ResizeForVisionTower'),
    dict(type='ResizeForMaskDecoder'),
    dict(type='EncodeConversations', max_length=max_length),
    dict(type='PackSegInputs'),
]
