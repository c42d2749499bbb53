"""Segment Anything, ViT-L, by transformers (facebook/sam-vit-large); also reads a released .pth file."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-vit-large',
    config=dict(
        model_type='sam',
        vision_config=dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, global_attn_indexes=[5, 11, 17, 23]),
        mask_decoder_config=dict(layer_norm_eps=1e-5),  # as in the release; transformers' default is 1e-6
    ),
)
