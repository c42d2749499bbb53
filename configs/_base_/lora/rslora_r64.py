"""rsLoRA (Kalajdzievski, 2023): scaled by alpha / sqrt(r), so that a high rank learns as fast as a low one."""

lora = dict(r=64, lora_alpha=16, lora_dropout=0.05, target_modules='all-linear', use_rslora=True)
