"""Mistral 7B v0.3 (mistralai/Mistral-7B-Instruct-v0.3)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Mistral-7B-Instruct-v0.3',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='mistral',
        vocab_size=32768,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        rms_norm_eps=1e-5,
        sliding_window=None,
        rope_parameters=dict(rope_type='default', rope_theta=1000000.0),
    ),
)
