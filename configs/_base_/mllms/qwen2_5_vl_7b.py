"""Qwen2.5-VL 7B (Qwen/Qwen2.5-VL-7B-Instruct)."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/Qwen2.5-VL-7B-Instruct',
    gradient_checkpointing=True,
    # pixels: at most 256 tokens of 28 x 28 per image, so that rows of 512 have room; raise both together
    image_options=dict(size=dict(shortest_edge=3136, longest_edge=200704)),
    config=dict(
        model_type='qwen2_5_vl',
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        text_config=dict(
            vocab_size=152064,
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            max_position_embeddings=128000,
            rope_parameters=dict(rope_type='default', rope_theta=1000000.0, mrope_section=[16, 24, 24]),
        ),
        vision_config=dict(
            depth=32,
            hidden_size=1280,
            intermediate_size=3420,
            num_heads=16,
            out_hidden_size=3584,
            fullatt_block_indexes=[7, 15, 23, 31],
        ),
    ),
)
