"""ZeRO-2 in bfloat16 with the optimizer state in CPU memory."""

strategy = dict(
    type='LisaDeepSpeedStrategy',
    zero_stage=2,
    offload='optimizer',
    gradient_clipping=1.0,
    bf16=True,
    zero_options=dict(
        contiguous_gradients=True,
        overlap_comm=True,
        reduce_scatter=True,
        reduce_bucket_size=500_000_000,
        allgather_bucket_size=500_000_000,
    ),
)
