"""Segment Anything, ViT-H, as released (github.com/facebookresearch/segment-anything)."""

mask_decoder = dict(
    type='SAMMaskDecoder',
    pretrained='pretrained/sam_vit_h_4b8939.pth',
    image_encoder=dict(type='SAMImageEncoder', variant='vit_h'),
)
