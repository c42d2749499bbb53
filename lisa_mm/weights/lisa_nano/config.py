"""Written by lisa_mm 0.1.0; see export.json."""

custom_hooks = [
    dict(type='FirstSampleHook'),
    dict(type='ParametersHook'),
    dict(interval=50, type='CurvesHook'),
    dict(num_images=8, type='PicturesHook'),
]
data_root = 'data/demo'
default_hooks = dict(
    checkpoint=dict(interval=200, max_keep=2, save_best='gIoU', type='SafeCheckpointHook'),
    logger=dict(interval=10, type='ProgressHook'),
)
env_cfg = dict(cudnn_benchmark=False)
load_from = 'here://'
log_level = 'INFO'
model = dict(
    lora=dict(
        lora_alpha=16,
        lora_dropout=0.05,
        r=8,
        target_modules=[
            'q_proj',
            'v_proj',
        ],
    ),
    losses=dict(
        bce=dict(type='MaskBCELoss', weight=2.0),
        ce=dict(type='CrossEntropyLoss', weight=1.0),
        dice=dict(type='MaskDiceLoss', weight=0.5),
    ),
    mask_decoder=dict(
        image_encoder=dict(
            depth=4,
            embed_dim=96,
            global_attn_indexes=(
                1,
                3,
            ),
            image_size=192,
            num_heads=4,
            out_channels=64,
            patch_size=8,
            type='SAMImageEncoder',
            window_size=8,
        ),
        iou_hidden_dim=64,
        mlp_dim=256,
        num_heads=4,
        type='SAMMaskDecoder',
    ),
    mllm=dict(
        language_model=dict(
            config=dict(
                attention_bias=False,
                attention_dropout=0.0,
                bos_token_id=1,
                eos_token_id=2,
                head_dim=32,
                hidden_act='silu',
                hidden_size=128,
                initializer_range=0.08,
                intermediate_size=344,
                max_position_embeddings=512,
                mlp_bias=False,
                model_type='llama',
                num_attention_heads=4,
                num_hidden_layers=4,
                num_key_value_heads=4,
                pad_token_id=3,
                pretraining_tp=1,
                rms_norm_eps=1e-06,
                rope_parameters=dict(rope_theta=10000.0, rope_type='default'),
                tie_word_embeddings=False,
                use_cache=True,
                vocab_size=1203,
            ),
            template='plain',
            tokenizer='here://tokenizer',
            type='CausalLM',
        ),
        projector=dict(type='LinearProjector'),
        type='LlavaMLLM',
        vision_tower=dict(
            config=dict(
                attention_dropout=0.0,
                hidden_act='quick_gelu',
                hidden_size=96,
                image_size=96,
                initializer_factor=1.0,
                initializer_range=0.02,
                intermediate_size=256,
                layer_norm_eps=1e-05,
                model_type='clip_vision_model',
                num_attention_heads=4,
                num_channels=3,
                num_hidden_layers=3,
                patch_size=24,
                projection_dim=512,
            ),
            full_view=True,
            type='CLIPVisionTower',
        ),
    ),
    seg_head=dict(type='SegTokenHead'),
    type='LISA',
)
optim_wrapper = dict(
    optimizer=dict(
        betas=(
            0.9,
            0.95,
        ),
        lr=0.005,
        type='AdamW',
        weight_decay=0.0,
    ),
    paramwise_cfg=dict(custom_keys=dict(mask_decoder=dict(lr_mult=0.1), seg_head=dict(lr_mult=0.2))),
)
param_scheduler = dict(type='WarmupDecayLR', warmup_iters=50)
randomness = dict(seed=0)
strategy = dict(gradient_clipping=1.0, type='LisaDeepSpeedStrategy', zero_stage=2)
test_cfg = dict()
test_dataloader = dict(
    batch_size=4,
    collate_fn=dict(type='seg_collate'),
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='DecodeMasks'),
            dict(type='ResizeForVisionTower'),
            dict(type='ResizeForMaskDecoder'),
            dict(max_length=None, max_text_length=256, type='EncodeConversations'),
            dict(type='PackSegInputs'),
        ],
        split='test',
        test_mode=True,
        type='ReasonSegDataset',
    ),
    num_workers=1,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(type='SegIoUMetric')
train_cfg = dict(max_iters=1000, type='IterTrainLoop', val_at_start=True, val_interval=450)
train_dataloader = dict(
    batch_size=4,
    collate_fn=dict(type='seg_collate'),
    dataset=dict(
        bare=0.3,
        others_per_image=5,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='DecodeMasks'),
            dict(type='ResizeForVisionTower'),
            dict(type='ResizeForMaskDecoder'),
            dict(max_length=None, max_text_length=256, type='EncodeConversations'),
            dict(type='PackSegInputs'),
        ],
        split='train',
        texts_per_image=2,
        type='ReasonSegDataset',
    ),
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='SeekableSampler'),
)
val_cfg = dict()
val_dataloader = dict(
    batch_size=4,
    collate_fn=dict(type='seg_collate'),
    dataset=dict(
        pipeline=[
            dict(type='LoadImage'),
            dict(type='DecodeMasks'),
            dict(type='ResizeForVisionTower'),
            dict(type='ResizeForMaskDecoder'),
            dict(max_length=None, max_text_length=256, type='EncodeConversations'),
            dict(type='PackSegInputs'),
        ],
        split='val',
        test_mode=True,
        type='ReasonSegDataset',
    ),
    num_workers=1,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = dict(type='SegIoUMetric')
