"""Vicuna-7B of LLaVA-Lightning-7B-v1-1, from which LISA-7B starts."""

language_model = dict(
    type='CausalLM',
    pretrained='pretrained/LLaVA-Lightning-7B-v1-1',
    tokenizer='pretrained/LLaVA-Lightning-7B-v1-1',
    template='llava_v1',
    gradient_checkpointing=True,
    config=dict(
        model_type='llama',
        vocab_size=32000,  # + [SEG], <im_start>, <im_end>
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
    ),
)
