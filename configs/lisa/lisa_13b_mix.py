"""LISA-13B as published (CVPR 2024): llava-llama-2-13b-chat-lightning-preview instead of the 7B.

    deepspeed tools/train.py configs/lisa/lisa_13b_mix.py --cfg-options data_root=DIR

Published gIoU/cIoU on ReasonSeg: val 48.9/46.9, test 44.8/45.8 (13B; of Llama-2-13B only the fine-tuned scores are published).
Not reproduced: nothing of this size has been trained.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_7b_mix import *  # the same data, LoRA, SAM, schedule: 5,000 it x 160 img = 800,000 samples

    # isort: split
    from .._base_.mllms.llava_llama2_13b import mllm

model.update(mllm=mllm)
