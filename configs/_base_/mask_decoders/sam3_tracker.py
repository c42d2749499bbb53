"""The tracker of SAM 3 (facebook/sam3): images are squashed into 1008 pixels; read from its folder only."""

mask_decoder = dict(
    type='HFMaskDecoder',
    pretrained='pretrained/sam3',
    config=dict(
        model_type='sam3_tracker',
        vision_config=dict(model_type='sam3_vision_model'),
    ),
)
