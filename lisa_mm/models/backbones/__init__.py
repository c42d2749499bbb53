"""Vision towers of the LLM and image encoders of the mask decoders."""

from .clip_vision_tower import CLIPVisionTower
from .hf_vision_tower import HFVisionTower
from .sam_image_encoder import SAMImageEncoder

__all__ = ['CLIPVisionTower', 'HFVisionTower', 'SAMImageEncoder']
