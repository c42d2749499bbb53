"""LISA-7B as published (CVPR 2024): LLaVA-Lightning-7B-v1-1, CLIP ViT-L/14, SAM ViT-H, LoRA.

    deepspeed tools/train.py configs/lisa/lisa_7b_mix.py --cfg-options data_root=DIR

GPUs of 24 GB or more (calculated, and confirmed by a measured step on one H200; published on 8, fewer accumulate more).
Published gIoU/cIoU on ReasonSeg: val 44.4/46.0, test 36.8/34.1. Not reproduced: nothing of this size has been trained.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.recipe import *
    from .._base_.lora.q_v_r8 import lora
    from .._base_.losses.default import losses
    from .._base_.mask_decoders.sam_vit_h import mask_decoder
    from .._base_.mllms.llava_v1_7b import mllm
    from .._base_.runtime.default import *
    from .._base_.schedules.lisa_5k import *  # 5,000 it x 160 img = 800,000 samples
    from .._base_.strategies.zero2_bf16 import strategy

model = dict(
    type='LISA',
    mllm=mllm,
    lora=lora,
    seg_head=dict(type='SegTokenHead'),
    mask_decoder=mask_decoder,
    losses=losses,
)
strategy.update(target_batch=160)  # 2 img x 10 accumulated x 8 GPU; fewer GPUs accumulate more
