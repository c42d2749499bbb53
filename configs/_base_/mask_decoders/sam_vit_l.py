"""Segment Anything, ViT-L at 1024 px, as released."""

mask_decoder = dict(
    type='SAMMaskDecoder',
    pretrained='pretrained/sam_vit_l_0b3195.pth',
    image_encoder=dict(type='SAMImageEncoder', variant='vit_l'),
)
