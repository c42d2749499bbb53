"""Segment Anything, ViT-B at 1024 px, as released."""

mask_decoder = dict(
    type='SAMMaskDecoder',
    pretrained='pretrained/sam_vit_b_01ec64.pth',
    image_encoder=dict(type='SAMImageEncoder', variant='vit_b'),
)
