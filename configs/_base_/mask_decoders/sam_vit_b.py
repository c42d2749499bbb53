"""Segment Anything, ViT-B, as released (github.com/facebookresearch/segment-anything)."""

mask_decoder = dict(
    type='SAMMaskDecoder',
    pretrained='pretrained/sam_vit_b_01ec64.pth',
    image_encoder=dict(type='SAMImageEncoder', variant='vit_b'),
)
