"""Segment Anything, ViT-B, by transformers (facebook/sam-vit-base); also reads a released .pth file."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-vit-base',
    config=dict(
        model_type='sam',
        vision_config=dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, global_attn_indexes=[2, 5, 8, 11]),
        mask_decoder_config=dict(layer_norm_eps=1e-5),  # as in the release; transformers' default is 1e-6
    ),
)
