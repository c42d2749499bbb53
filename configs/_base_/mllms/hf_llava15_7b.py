"""LLaVA-1.5 7B in the layout of transformers (llava-hf/llava-1.5-7b-hf): Vicuna 7B, CLIP ViT-L/14 at 336 pixels."""

mllm = dict(
    type='HFMLLM',
    pretrained='pretrained/llava-1.5-7b-hf',
    template='vicuna_v1',
    gradient_checkpointing=True,
    # the rest (Llama 7B, ViT-L/14 at 336) is the default of transformers' classes
    config=dict(model_type='llava', text_config=dict(model_type='llama', vocab_size=32064), image_token_index=32000),
)
