"""SAM-HQ, ViT-H (syscv-community/sam-hq-vit-huge)."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-hq-vit-huge',
    config=dict(
        model_type='sam_hq',
        vision_config=dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31]),
        mask_decoder_config=dict(vit_dim=1280),
    ),
)
