"""SAM-HQ, ViT-B (syscv-community/sam-hq-vit-base)."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-hq-vit-base',
    config=dict(
        model_type='sam_hq',
        vision_config=dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, global_attn_indexes=[2, 5, 8, 11]),
        mask_decoder_config=dict(vit_dim=768),
    ),
)
