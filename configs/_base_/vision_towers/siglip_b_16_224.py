"""SigLIP ViT-B/16 at 224 px (google/siglip-base-patch16-224): (224 / 16)^2 = 196 image tokens."""

vision_tower = dict(
    type='HFVisionTower',
    pretrained='pretrained/siglip-base-patch16-224',
    config=dict(
        model_type='siglip_vision_model',
        image_size=224,
        patch_size=16,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
    ),
)
