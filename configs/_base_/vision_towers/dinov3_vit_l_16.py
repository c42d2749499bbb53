"""DINOv3 ViT-L/16 at 224 px (facebook/dinov3-vitl16-pretrain-lvd1689m): (224 / 16)^2 = 196 image tokens."""

vision_tower = dict(
    type='HFVisionTower',
    pretrained='pretrained/dinov3-vitl16-pretrain-lvd1689m',
    config=dict(
        model_type='dinov3_vit',
        num_register_tokens=4,
        image_size=224,
        patch_size=16,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
    ),
)
