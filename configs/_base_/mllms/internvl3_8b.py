"""InternVL3 8B (OpenGVLab/InternVL3-8B-hf): tiles of 448 pixels, 256 tokens each; one tile per image."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/InternVL3-8B-hf',
    gradient_checkpointing=True,
    image_options=dict(crop_to_patches=False),
    config=dict(
        model_type='internvl',
        image_token_id=151667,
        image_seq_length=256,
        tie_word_embeddings=False,
        text_config=dict(
            model_type='qwen2',
            vocab_size=151674,
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            rope_parameters=dict(rope_type='dynamic', factor=2.0, rope_theta=1000000.0),
        ),
        vision_config=dict(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            attention_bias=True,
            image_size=[448, 448],
            patch_size=[14, 14],
        ),
    ),
)
