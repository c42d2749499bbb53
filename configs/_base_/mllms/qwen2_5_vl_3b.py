"""Qwen2.5-VL 3B (Qwen/Qwen2.5-VL-3B-Instruct)."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/Qwen2.5-VL-3B-Instruct',
    gradient_checkpointing=True,
    # pixels: at most 256 tokens of 28 x 28 per image, so that rows of 512 have room; raise both together
    image_options=dict(size=dict(shortest_edge=3136, longest_edge=200704)),
    config=dict(
        model_type='qwen2_5_vl',
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
        tie_word_embeddings=True,
        text_config=dict(
            vocab_size=151936,
            hidden_size=2048,
            intermediate_size=11008,
            num_hidden_layers=36,
            num_attention_heads=16,
            num_key_value_heads=2,
            max_position_embeddings=128000,
            rope_parameters=dict(rope_type='default', rope_theta=1000000.0, mrope_section=[16, 24, 24]),
        ),
        vision_config=dict(
            depth=32,
            hidden_size=1280,
            intermediate_size=3420,
            num_heads=16,
            out_hidden_size=2048,
            fullatt_block_indexes=[7, 15, 23, 31],
        ),
    ),
)
