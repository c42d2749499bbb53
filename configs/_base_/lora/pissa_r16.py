"""PiSSA (Meng et al., 2024): adapters start from the largest singular values of W; checkpoints also hold the rest of W."""

lora = dict(r=16, lora_alpha=16, target_modules='all-linear', init_lora_weights='pissa_niter_16')
