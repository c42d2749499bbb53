"""A whole copy per process with torch's DistributedDataParallel, in float32."""

strategy = dict(type='LisaDDPStrategy', gradient_clipping=1.0)
