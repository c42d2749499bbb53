"""Settings shared by all runs."""

env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
log_level = 'INFO'
custom_hooks = [
    dict(type='FirstSampleHook'),
    dict(type='ParametersHook'),
    dict(type='CurvesHook', interval=50),
    dict(type='PicturesHook', num_images=8),
]
default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', interval=200, max_keep=2, save_best='gIoU'),
    logger=dict(type='ProgressHook', interval=10),
)
val_evaluator = dict(type='SegIoUMetric')
test_evaluator = dict(type='SegIoUMetric')
val_cfg = dict()
test_cfg = dict()
