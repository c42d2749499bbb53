"""DeepSpeed without sharding, in bfloat16: whole copies, averaged gradients."""

strategy = dict(
    type='LisaDeepSpeedStrategy',
    zero_stage=0,
    gradient_clipping=1.0,
    bf16=True,
)
