"""Segment Anything, ViT-H at 1024 px, as released."""

mask_decoder = dict(
    type='SAMMaskDecoder',
    pretrained='pretrained/sam_vit_h_4b8939.pth',
    image_encoder=dict(type='SAMImageEncoder', variant='vit_h'),
)
