"""SmolLM2 1.7B (HuggingFaceTB/SmolLM2-1.7B-Instruct)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/SmolLM2-1.7B-Instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=49152,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=24,
        num_attention_heads=32,
        num_key_value_heads=32,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type='default', rope_theta=130000.0),
    ),
)
