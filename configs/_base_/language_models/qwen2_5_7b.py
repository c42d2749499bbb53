"""Qwen2.5 7B (Qwen/Qwen2.5-7B-Instruct)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Qwen2.5-7B-Instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='qwen2',
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        rope_parameters=dict(rope_type='default', rope_theta=1000000.0),
    ),
)
