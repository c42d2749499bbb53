"""Whole copies by torch's DistributedDataParallel; the forward computes in bfloat16."""

strategy = dict(type='LisaDDPStrategy', gradient_clipping=1.0, bf16=True)
