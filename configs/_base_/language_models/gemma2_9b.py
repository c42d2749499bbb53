"""Gemma 2 9B (google/gemma-2-9b-it)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/gemma-2-9b-it',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='gemma2',
        vocab_size=256000,
        hidden_size=3584,
        intermediate_size=14336,
        num_hidden_layers=42,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=4096,
    ),
)
