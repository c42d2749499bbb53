"""OLMo 2 7B (allenai/OLMo-2-1124-7B-Instruct)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/OLMo-2-1124-7B-Instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='olmo2',
        vocab_size=100352,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type='default', rope_theta=500000.0),
    ),
)
