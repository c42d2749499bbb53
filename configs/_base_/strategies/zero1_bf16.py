"""ZeRO-1 in bfloat16: the optimizer state is sharded."""

strategy = dict(
    type='LisaDeepSpeedStrategy',
    zero_stage=1,
    gradient_clipping=1.0,
    bf16=True,
)
