"""Gemma 3 1B (google/gemma-3-1b-it), the one without images; the larger ones are whole models (mllm)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/gemma-3-1b-it',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='gemma3_text',
        vocab_size=262144,
        hidden_size=1152,
        intermediate_size=6912,
        num_hidden_layers=26,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
    ),
)
