"""Qwen3 8B (Qwen/Qwen3-8B); asked without thinking."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Qwen3-8B',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='qwen3',
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        rope_parameters=dict(rope_type='default', rope_theta=1000000.0),
    ),
)
