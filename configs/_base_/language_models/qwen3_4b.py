"""Qwen3 4B (Qwen/Qwen3-4B); asked without thinking."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Qwen3-4B',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='qwen3',
        vocab_size=151936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type='default', rope_theta=1000000.0),
    ),
)
