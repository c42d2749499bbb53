"""Llama 3.1 8B (meta-llama/Llama-3.1-8B-Instruct)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/Llama-3.1-8B-Instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_parameters=dict(
            rope_type='llama3',
            rope_theta=500000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
    ),
)
