"""CLIP ViT-L/14 at 224 px (openai/clip-vit-large-patch14): (224 / 14)^2 = 256 image tokens."""

vision_tower = dict(
    type='CLIPVisionTower',
    pretrained='pretrained/clip-vit-large-patch14',
    config=dict(
        image_size=224,
        patch_size=14,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
    ),
)
