"""EdgeTAM (yonigozlan/EdgeTAM-hf), a small SAM 2 on RepViT-M1 of timm (pip install timm); images are squashed into the square."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/EdgeTAM-hf',
    config=dict(
        model_type='edgetam',
        vision_config=dict(
            model_type='edgetam_vision_model',
            backbone_config=dict(
                model_type='timm_wrapper',
                architecture='repvit_m1',
                num_classes=1000,
                model_args=dict(in_chans=3, features_only=True, out_indices=[0, 1, 2, 3]),
            ),
        ),
    ),
)
