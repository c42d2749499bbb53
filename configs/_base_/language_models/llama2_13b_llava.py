"""Llama-2-13B-chat of llava-llama-2-13b-chat-lightning-preview, from which LISA-13B starts."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/llava-llama-2-13b-chat-lightning-preview',
    tokenizer='pretrained/llava-llama-2-13b-chat-lightning-preview',
    template='llava_llama_2',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=32000,  # + [SEG], <im_start>, <im_end>
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
    ),
)
