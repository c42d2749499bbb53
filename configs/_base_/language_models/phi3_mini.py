"""Phi-3 mini (microsoft/Phi-3-mini-4k-instruct). Its projections are fused: swap lora=all_linear_r16 with it."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Phi-3-mini-4k-instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='phi3',
        vocab_size=32064,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        sliding_window=2047,
    ),
)
