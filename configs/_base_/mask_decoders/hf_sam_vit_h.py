"""Segment Anything, ViT-H, by transformers (facebook/sam-vit-huge); also reads a released .pth file."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-vit-huge',
    config=dict(
        model_type='sam',
        vision_config=dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31]),
        mask_decoder_config=dict(layer_norm_eps=1e-5),  # as in the release; transformers' default is 1e-6
    ),
)
