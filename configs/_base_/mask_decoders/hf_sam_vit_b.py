"""Segment Anything, ViT-B, over transformers (facebook/sam-vit-base); a released .pth file is read too."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-vit-base',
    config=dict(
        model_type='sam',
        vision_config=dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, global_attn_indexes=[2, 5, 8, 11]),
        mask_decoder_config=dict(layer_norm_eps=1e-5),  # the release's; transformers' default is 1e-6
    ),
)
