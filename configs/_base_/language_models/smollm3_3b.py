"""SmolLM3 3B (HuggingFaceTB/SmolLM3-3B); asked without thinking."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/SmolLM3-3B',
    template='chat',
    gradient_checkpointing=True,
    config=dict(
        model_type='smollm3',
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=11008,
        num_hidden_layers=36,
        num_attention_heads=16,
        num_key_value_heads=4,
    ),
)
