"""SAM-HQ, ViT-L (syscv-community/sam-hq-vit-large)."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam-hq-vit-large',
    config=dict(
        model_type='sam_hq',
        vision_config=dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, global_attn_indexes=[5, 11, 17, 23]),
        mask_decoder_config=dict(vit_dim=1024),
    ),
)
