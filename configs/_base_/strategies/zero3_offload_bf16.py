"""ZeRO-3 in bfloat16 with parameters and optimizer state in CPU memory."""

strategy = dict(
    type='LisaDeepSpeedStrategy',
    zero_stage=3,
    offload='all',
    gradient_clipping=1.0,
    bf16=True,
    zero_options=dict(
        contiguous_gradients=True,
        overlap_comm=True,
        reduce_scatter=True,
        reduce_bucket_size=500_000_000,
        stage3_prefetch_bucket_size=50_000_000,
    ),
)
