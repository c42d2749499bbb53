"""Image, masks and conversation of a sample; the transforms' arguments follow from the model."""

max_text_length = 256  # besides the image: 512 in total with the 256 tokens of CLIP ViT-L/14 at 224 px, as published

pipeline = [
    dict(type='LoadImage'),
    dict(type='DecodeMasks'),
    dict(type='ResizeForVisionTower'),
    dict(type='ResizeForMaskDecoder'),
    dict(type='EncodeConversations', max_length=None, max_text_length=max_text_length),
    dict(type='PackSegInputs'),
]
