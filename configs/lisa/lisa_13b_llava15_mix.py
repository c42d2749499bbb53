"""LISA on LLaVA-1.5 13B: template vicuna_v1, MLP projector, CLIP at 336 px.

    deepspeed tools/train.py configs/lisa/lisa_13b_llava15_mix.py --cfg-options data_root=DIR

Published gIoU/cIoU are of the fine-tuned model (lisa_13b_llava15_reason_seg_ft.py).
Not reproduced: nothing of this size has been trained.
The published program assumes 256 image tokens (224 px); LLaVA-1.5 was trained at 336 px, so here an image has 576, and a row
256 + 576 = 832 tokens at most. That is this project's choice.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_7b_mix import *  # the same data, LoRA, SAM, schedule: 5,000 it x 160 img = 800,000 samples

    # isort: split
    from .._base_.mllms.llava15_13b import mllm

model.update(mllm=mllm)
