"""Qwen3-VL 8B (Qwen/Qwen3-VL-8B-Instruct)."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/Qwen3-VL-8B-Instruct',
    gradient_checkpointing=True,
    # pixels: at most 256 tokens of 32 x 32 per image; more make rows longer
    image_options=dict(size=dict(shortest_edge=4096, longest_edge=262144)),
    config=dict(
        model_type='qwen3_vl',
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=False,
        text_config=dict(
            vocab_size=151936,
            hidden_size=4096,
            intermediate_size=12288,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=262144,
            tie_word_embeddings=False,
            rope_parameters=dict(rope_type='default', rope_theta=5000000.0, mrope_section=[24, 20, 20], mrope_interleaved=True),
        ),
        vision_config=dict(
            depth=27,
            hidden_size=1152,
            intermediate_size=4304,
            num_heads=16,
            patch_size=16,
            out_hidden_size=4096,
            num_position_embeddings=2304,
            deepstack_visual_indexes=[8, 16, 24],
        ),
    ),
)
