"""Gemma 3 4B (google/gemma-3-4b-it): images of 896 x 896 pixels, 256 tokens each."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/gemma-3-4b-it',
    gradient_checkpointing=True,
    config=dict(
        model_type='gemma3',
        mm_tokens_per_image=256,
        image_token_index=262144,
        boi_token_index=255999,
        eoi_token_index=256000,
        text_config=dict(
            vocab_size=262208,
            hidden_size=2560,
            intermediate_size=10240,
            num_hidden_layers=34,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=256,
            sliding_window=1024,
            rope_parameters=dict(
                sliding_attention=dict(rope_type='default', rope_theta=10000.0),
                full_attention=dict(rope_type='linear', factor=8.0, rope_theta=1000000.0),
            ),
        ),
        vision_config=dict(
            hidden_size=1152,
            intermediate_size=4304,
            num_hidden_layers=27,
            num_attention_heads=16,
            image_size=896,
            patch_size=14,
            vision_use_head=False,
        ),
    ),
)
