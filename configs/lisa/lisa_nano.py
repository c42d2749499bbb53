"""The default main job: the published recipe at small width on the demo set, in minutes on two CPU cores.

    make train

Frozen: SAM's image encoder, vision tower, projector, the language model except LoRA. Trained: LoRA, embeddings and head, text
projection, mask decoder. The pretrained parts come from lisa_nano_pretrain.py.

The language model learns fast (what "could be kicked into a goal" means), head and mask decoder slowly: they already segment
named objects, including held-out combinations.

Measured (5 and a half minutes on two slow cores): gIoU 0.67 [0.62, 0.72], cIoU 0.65 on the 120 test scenes; an empty mask
0.00, the union of all objects 0.13, the question of another object 0.02. 950 steps gave 0.69 [0.64, 0.74].
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.reason_seg import *
    from .._base_.losses.default import losses
    from .._base_.runtime.default import *

data_root = 'data/demo'
lr = 5e-3
max_iters = 900
batch_size = 4  # 900 it x 4 img = 3,600 samples: the 1,500 images 2.4 times, up to 7 questions each
lr_of_part = dict(mask_decoder=dict(lr_mult=0.1), seg_head=dict(lr_mult=0.2))

model = dict(
    type='LISA',
    mllm=dict(
        type='LlavaMLLM',
        vision_tower=dict(type='CLIPVisionTower', pretrained='weights://nano/vision_tower', full_view=True),
        projector=dict(type='LinearProjector', pretrained='weights://nano/projector.safetensors'),
        language_model=dict(
            type='CausalLM',
            pretrained='weights://nano/language_model',
            tokenizer='weights://nano/tokenizer',
            template='plain',
            share_prefix=True,  # of up to 7 rows per image
        ),
    ),
    lora=dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=['q_proj', 'v_proj']),
    seg_head=dict(type='SegTokenHead', pretrained='weights://nano/seg_head.safetensors'),
    mask_decoder=dict(
        type='SAMMaskDecoder',
        pretrained='weights://nano/sam.safetensors',
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
        ),
    ),
    losses=losses,
)

train_dataloader.update(batch_size=batch_size)
train_dataloader['dataset'].update(texts_per_image=2, others_per_image=5)

train_cfg = dict(type='IterTrainLoop', max_iters=max_iters, val_interval=450, val_at_start=True)
strategy = dict(type='LisaDeepSpeedStrategy', zero_stage=2, gradient_clipping=1.0)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=lr_of_part),
)
param_scheduler = dict(type='WarmupDecayLR', warmup_iters=50)
