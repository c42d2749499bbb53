"""Losses of the published recipe (LISA, CVPR 2024)."""

losses = dict(
    ce=dict(type='CrossEntropyLoss', weight=1.0),
    bce=dict(type='MaskBCELoss', weight=2.0),
    dice=dict(type='MaskDiceLoss', weight=0.5),
)
