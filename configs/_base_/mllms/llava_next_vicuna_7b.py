"""LLaVA-NeXT (1.6) on Vicuna 7B (llava-hf/llava-v1.6-vicuna-7b-hf): tiles of 336 pixels, up to 2,880 tokens per image."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/llava-v1.6-vicuna-7b-hf',
    template='vicuna_v1',
    gradient_checkpointing=True,
    # the rest (Llama 7B, ViT-L/14 at 336, tiles) is the default of transformers' classes
    config=dict(
        model_type='llava_next',
        image_token_index=32000,
        text_config=dict(model_type='llama', vocab_size=32064, max_position_embeddings=4096),
    ),
)
