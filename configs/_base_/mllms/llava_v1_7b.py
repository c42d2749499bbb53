"""LLaVA v1 7B: one linear layer, CLIP ViT-L/14 at 224 px. Language model and projector are read from the published folder.

pretrained/LLaVA-Lightning-7B-v1-1: as published.
"""

from mmengine.config import read_base

with read_base():
    from ..language_models.vicuna_7b_llava_v1 import language_model
    from ..vision_towers.clip_vit_l_14 import vision_tower

mllm = dict(
    type='LlavaMLLM',
    vision_tower=vision_tower,
    projector=dict(type='LinearProjector', pretrained='pretrained/LLaVA-Lightning-7B-v1-1'),
    language_model=language_model,
)
