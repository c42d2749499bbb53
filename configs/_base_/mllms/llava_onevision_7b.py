"""LLaVA-OneVision on Qwen2 7B (llava-hf/llava-onevision-qwen2-7b-ov-hf): tiles of 384 pixels, up to 7,290 tokens per image."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/llava-onevision-qwen2-7b-ov-hf',
    gradient_checkpointing=True,
    # the tower (SigLIP SO400M/14 at 384, 26 layers) and the tiles are the defaults of transformers' classes
    config=dict(
        model_type='llava_onevision',
        image_token_index=151646,
        video_token_index=151647,
        text_config=dict(
            model_type='qwen2',
            vocab_size=152064,
            hidden_size=3584,
            intermediate_size=18944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            rope_parameters=dict(rope_type='default', rope_theta=1000000.0),
        ),
    ),
)
