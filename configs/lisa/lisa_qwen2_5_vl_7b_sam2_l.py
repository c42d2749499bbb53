"""LISA's recipe with Qwen2.5-VL-7B instead of LLaVA and SAM 2 (Hiera-L) instead of SAM: one import and one assignment each.

    python tools/check_config.py configs/lisa/lisa_qwen2_5_vl_7b_sam2_l.py --gpus 8 --gpu-memory 24
    deepspeed --master_port=24999 tools/train.py configs/lisa/lisa_qwen2_5_vl_7b_sam2_l.py

Not trained yet: no scores.
"""

from mmengine.config import read_base

with read_base():
    from .lisa_7b_mix import *

    # isort: split
    from .._base_.mask_decoders.sam2_hiera_l import mask_decoder
    from .._base_.mllms.qwen2_5_vl_7b import mllm

model['mllm'] = mllm
model['mask_decoder'] = mask_decoder
