"""SmolLM2 135M (HuggingFaceTB/SmolLM2-135M-Instruct)."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/SmolLM2-135M-Instruct',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type='default', rope_theta=100000.0),
    ),
)
