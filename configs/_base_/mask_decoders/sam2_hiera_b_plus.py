"""SAM 2.1, Hiera base-plus (facebook/sam2.1-hiera-base-plus); images are squashed into the square."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam2.1-hiera-base-plus',
    config=dict(
        model_type='sam2',
        vision_config=dict(
            backbone_channel_list=[896, 448, 224, 112],
            backbone_config=dict(
                model_type='sam2_hiera_det_model',
                hidden_size=112,
                num_attention_heads=2,
                blocks_per_stage=[2, 3, 16, 3],
                embed_dim_per_stage=[112, 224, 448, 896],
                num_attention_heads_per_stage=[2, 4, 8, 16],
                window_size_per_stage=[8, 4, 14, 7],
                global_attention_blocks=[12, 16, 20],
                window_positional_embedding_background_size=[14, 14],
            ),
        ),
    ),
)
