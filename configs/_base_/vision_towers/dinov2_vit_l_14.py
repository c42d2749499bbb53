"""DINOv2 ViT-L/14 (facebook/dinov2-large) at its processor's 224 px, trained at 518: (224 / 14)^2 = 256 image tokens."""

vision_tower = dict(
    type='HFVisionTower',
    pretrained='pretrained/dinov2-large',
    image_size=224,
    config=dict(
        model_type='dinov2',
        image_size=518,
        patch_size=14,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
    ),
)
