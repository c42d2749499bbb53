"""LLaVA on Llama-2-13B-chat: one linear layer, CLIP ViT-L/14 at 224 px. LLM and projector are read from the published folder.

pretrained/llava-llama-2-13b-chat-lightning-preview: as published.
"""

from mmengine.config import read_base

with read_base():
    from ..language_models.llama2_13b_llava import language_model
    from ..vision_towers.clip_vit_l_14 import vision_tower

mllm = dict(
    type='LlavaMLLM',
    vision_tower=vision_tower,
    projector=dict(type='LinearProjector', pretrained='pretrained/llava-llama-2-13b-chat-lightning-preview'),
    language_model=language_model,
)
