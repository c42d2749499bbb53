"""Phi-4 14B (microsoft/phi-4). Its projections are fused: swap lora=all_linear_r16 with it."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/phi-4',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='phi3',
        vocab_size=100352,
        hidden_size=5120,
        intermediate_size=17920,
        num_hidden_layers=40,
        num_attention_heads=40,
        num_key_value_heads=10,
        max_position_embeddings=16384,
        rope_parameters=dict(rope_type='default', rope_theta=250000.0, partial_rotary_factor=1.0),
    ),
)
