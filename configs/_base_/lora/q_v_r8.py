"""LoRA of the published recipe: rank 8 on the queries and values of the LLM."""

lora = dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=['q_proj', 'v_proj'])
