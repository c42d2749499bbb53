"""DoRA (Liu et al., 2024): the direction by LoRA, the length of every row of a weight by itself; slower than LoRA."""

lora = dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules='all-linear', use_dora=True)
