"""Vicuna-13B v1.5 of LLaVA-1.5."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/llava-v1.5-13b',
    tokenizer='pretrained/llava-v1.5-13b',
    template='vicuna_v1',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=32000,  # + [SEG], <im_start>, <im_end>
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
    ),
)
