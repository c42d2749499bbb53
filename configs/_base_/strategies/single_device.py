"""One process, no DeepSpeed, in float32."""

strategy = dict(type='LisaSingleDeviceStrategy', gradient_clipping=1.0)
