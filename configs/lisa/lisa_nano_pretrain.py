"""The nano model from scratch: everything trained, on referring phrases, captions and simple questions about other scenes.

    python tools/make_demo.py data/demo --pretrain 12000
    python tools/train.py configs/lisa/lisa_nano_pretrain.py
    python tools/export_parts.py work_dirs/lisa_nano_pretrain lisa_mm/weights/nano

Measured: 43 minutes on two slow cores beside other work; gIoU 0.81, cIoU 0.80 on 300 phrases about unseen scenes.

It never sees a held-out combination, a scene of train, val or test, or an implicit question (tests/projects/nano/test_demo.py).
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.pipeline import pipeline
    from .._base_.losses.default import losses
    from .._base_.runtime.default import *

data_root = 'data/demo/pretrain'
lr = 6e-4
max_iters = 12000
batch_size = 2  # 12,000 it x 2 img = 24,000 samples, 7 phrases each
losses['bce'].update(weight=20.0)  # from scratch, masks are learnt last: ten times the recipe's weights
losses['dice'].update(weight=5.0)
pipeline[4].update(max_length=72)  # cuts long captions: all rows of a batch are as long as the longest

model = dict(
    type='LISA',
    mllm=dict(
        type='LlavaMLLM',
        vision_tower=dict(
            type='CLIPVisionTower',
            full_view=True,
            frozen=False,
            config=dict(
                image_size=96, patch_size=24, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4
            ),
        ),
        projector=dict(type='LinearProjector', frozen=False),
        language_model=dict(
            type='CausalLM',
            tokenizer='weights://nano/tokenizer',
            template='plain',
            config=dict(
                model_type='llama',
                vocab_size=1203,
                hidden_size=128,
                intermediate_size=344,
                num_hidden_layers=4,
                num_attention_heads=4,
                max_position_embeddings=512,
                initializer_range=0.08,  # 1 / sqrt(128); the default 0.02 suits width 2,048 and more
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=3,
            ),
        ),
    ),
    lora=None,
    tuning='full',
    seg_head=dict(type='SegTokenHead', init_gain=5.0),
    mask_decoder=dict(
        type='SAMMaskDecoder',
        num_heads=4,
        mlp_dim=256,
        iou_hidden_dim=64,
        image_encoder=dict(
            type='SAMImageEncoder',
            image_size=192,
            patch_size=8,
            embed_dim=96,
            depth=4,
            num_heads=4,
            window_size=8,
            global_attn_indexes=(1, 3),
            out_channels=64,
            frozen=False,
        ),
    ),
    losses=losses,
)

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='SeekableSampler'),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(
        type='JsonlSegDataset',
        file='train.jsonl',
        phrases_per_image=7,
        questions_per_image=1,
        name_in_answer=0.7,
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='seg_collate'),
    dataset=dict(type='JsonlSegDataset', file='val.jsonl', test_mode=True, indices=300, pipeline=pipeline),
)

train_cfg = dict(type='IterTrainLoop', max_iters=max_iters, val_interval=2000)
strategy = dict(type='LisaSingleDeviceStrategy', gradient_clipping=1.0)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.95), weight_decay=0.01))
param_scheduler = dict(type='WarmupDecayLR', warmup_iters=100)
