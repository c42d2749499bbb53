"""LoRA of rank 16 on every linear layer of the LLM, in any family of models."""

lora = dict(r=16, lora_alpha=32, lora_dropout=0.05, target_modules='all-linear')
