"""A whole copy per process with torch's DistributedDataParallel; the forward runs in bfloat16."""

strategy = dict(type='LisaDDPStrategy', gradient_clipping=1.0, bf16=True)
