"""SigLIP SO400M/14 at 384 px (google/siglip-so400m-patch14-384): 27^2 = 729 image tokens (384 / 14 rounded down)."""

vision_tower = dict(
    type='HFVisionTower',
    pretrained='pretrained/siglip-so400m-patch14-384',
    config=dict(
        model_type='siglip_vision_model',
        image_size=384,
        patch_size=14,
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
    ),
)
