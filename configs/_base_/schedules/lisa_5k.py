"""Optimizer and schedule of the published recipe: 10 epochs of 500 optimizer steps, validated after each."""

lr = 3e-4
max_iters = 5000  # x 160 img = 800,000 samples

train_cfg = dict(type='IterTrainLoop', max_iters=max_iters, val_interval=500)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.95), weight_decay=0.0))
param_scheduler = dict(type='WarmupDecayLR', warmup_iters=100)  # 0 -> lr, then linear to 0 at max_iters
