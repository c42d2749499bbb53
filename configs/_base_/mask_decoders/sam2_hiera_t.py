"""SAM 2.1, Hiera tiny (facebook/sam2.1-hiera-tiny); images are squashed into the square."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam2.1-hiera-tiny',
    config=dict(
        model_type='sam2',
        vision_config=dict(
            backbone_channel_list=[768, 384, 192, 96],
            backbone_config=dict(
                model_type='sam2_hiera_det_model',
                hidden_size=96,
                num_attention_heads=1,
                blocks_per_stage=[1, 2, 7, 2],
                embed_dim_per_stage=[96, 192, 384, 768],
                num_attention_heads_per_stage=[1, 2, 4, 8],
                window_size_per_stage=[8, 4, 14, 7],
                global_attention_blocks=[5, 7, 9],
                window_positional_embedding_background_size=[7, 7],
            ),
        ),
    ),
)
