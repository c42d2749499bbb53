"""SAM 2.1, Hiera large (facebook/sam2.1-hiera-large); images are squashed into the square."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam2.1-hiera-large',
    config=dict(
        model_type='sam2',
        vision_config=dict(
            backbone_channel_list=[1152, 576, 288, 144],
            backbone_config=dict(
                model_type='sam2_hiera_det_model',
                hidden_size=144,
                num_attention_heads=2,
                blocks_per_stage=[2, 6, 36, 4],
                embed_dim_per_stage=[144, 288, 576, 1152],
                num_attention_heads_per_stage=[2, 4, 8, 16],
                window_size_per_stage=[8, 4, 16, 8],
                global_attention_blocks=[23, 33, 43],
                window_positional_embedding_background_size=[7, 7],
            ),
        ),
    ),
)
