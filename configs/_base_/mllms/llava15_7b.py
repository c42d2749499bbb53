"""LLaVA-1.5 7B: two layers with GELU, CLIP ViT-L/14 at 336 px. Language model and projector are read from the published folder.

pretrained/llava-v1.5-7b: as published.
"""

from mmengine.config import read_base

with read_base():
    from ..language_models.vicuna_7b_v15 import language_model
    from ..vision_towers.clip_vit_l_14_336 import vision_tower

mllm = dict(
    type='LlavaMLLM',
    vision_tower=vision_tower,
    projector=dict(type='MLPProjector', pretrained='pretrained/llava-v1.5-7b'),
    language_model=language_model,
)
