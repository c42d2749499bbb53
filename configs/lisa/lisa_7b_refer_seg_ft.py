"""lisa_7b_mix fine-tuned on refCOCO, refCOCO+, refCOCOg and refCLEF.

    deepspeed tools/train.py configs/lisa/lisa_7b_refer_seg_ft.py --cfg-options data_root=DIR [load_from=CHECKPOINT]

CHECKPOINT: the work folder of the mix (default), or an imported published model (tools/convert_checkpoint.py import).
Published cIoU: refCOCO val/testA/testB 74.9/79.1/72.3, refCOCO+ 65.1/70.8/58.1, refCOCOg val/test 67.9/70.6.
The number of steps was not published; this one is this project's choice. Not reproduced: nothing of this size has been trained.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_7b_mix import *

    # isort: split
    from .._base_.datasets.refer_seg import test_dataloader, train_dataloader, val_dataloader

load_from = 'work_dirs/lisa_7b_mix'
max_iters = 500  # x 160 img = 80,000 samples

train_dataloader.update(batch_size=2, num_workers=4)
train_cfg.update(max_iters=max_iters, val_interval=100)
param_scheduler.update(warmup_iters=25)
