"""DoRA (Liu et al., 2024): LoRA for the direction, a separate length for every row of a weight; slower than LoRA."""

lora = dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules='all-linear', use_dora=True)
