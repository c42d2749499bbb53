"""lisa_7b_llava15_mix fine-tuned on the 239 images of ReasonSeg train.

    deepspeed tools/train.py configs/lisa/lisa_7b_llava15_reason_seg_ft.py --cfg-options data_root=DIR [load_from=CHECKPOINT]

CHECKPOINT: the work folder of the mix (default), or an imported published model (tools/convert_checkpoint.py import).
Published gIoU/cIoU on ReasonSeg: val 61.3/62.9, test 55.6/56.9.
The number of steps was not published; this one is this project's choice.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_7b_llava15_mix import *

    # isort: split
    from .._base_.datasets.reason_seg import train_dataloader

load_from = 'work_dirs/lisa_7b_llava15_mix'
max_iters = 50  # x 160 img = 8,000 samples: the 239 images 33 times

train_dataloader.update(batch_size=2, num_workers=4)
train_cfg.update(max_iters=max_iters, val_interval=10)
param_scheduler.update(warmup_iters=5)
