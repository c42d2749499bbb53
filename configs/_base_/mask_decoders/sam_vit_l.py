"""Segment Anything, ViT-L, as released (github.com/facebookresearch/segment-anything)."""

mask_decoder = dict(
    type='SAMMaskDecoder',
    pretrained='pretrained/sam_vit_l_0b3195.pth',
    image_encoder=dict(type='SAMImageEncoder', variant='vit_l'),
)
