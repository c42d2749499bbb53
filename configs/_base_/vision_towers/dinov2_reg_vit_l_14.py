"""DINOv2 with four registers, ViT-L/14 (facebook/dinov2-with-registers-large), at 224 px: (224 / 14)^2 = 256 image tokens."""

vision_tower = dict(
    type='HFVisionTower',
    pretrained='pretrained/dinov2-with-registers-large',
    image_size=224,
    config=dict(
        model_type='dinov2_with_registers',
        num_register_tokens=4,
        image_size=518,
        patch_size=14,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
    ),
)
