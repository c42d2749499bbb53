"""Qwen2.5 3B (Qwen/Qwen2.5-3B-Instruct)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Qwen2.5-3B-Instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='qwen2',
        vocab_size=151936,
        hidden_size=2048,
        intermediate_size=11008,
        num_hidden_layers=36,
        num_attention_heads=16,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type='default', rope_theta=1000000.0),
    ),
)
