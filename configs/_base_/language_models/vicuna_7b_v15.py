"""Vicuna-7B v1.5 of LLaVA-1.5."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/llava-v1.5-7b',
    tokenizer='pretrained/llava-v1.5-7b',
    template='vicuna_v1',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=32000,  # + [SEG], <im_start>, <im_end>
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
    ),
)
