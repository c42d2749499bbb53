"""Little vision parts that know 833 names: emoji on photographs, everything trained from scratch.

npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
python tools/make_emoji_scenes.py data/emoji emoji-datasource-*.tgz --photos DIR/reason_seg/ReasonSeg/train
python tools/train.py configs/lisa/lisa_emoji_pretrain.py
"""

from mmengine.config import read_base

with read_base():
    from .lisa_nano_pretrain import *

data_root = 'data/emoji'
max_iters = 9500

model['mllm']['vision_tower'] = dict(type='CLIPVisionTower', pretrained='weights://nano/vision_tower', full_view=True)
model['mllm']['projector'] = dict(type='LinearProjector', pretrained='weights://nano/projector.safetensors')
model['mllm']['language_model'] = dict(
    type='CausalLM',
    pretrained='weights://nano/language_model',
    tokenizer='weights://nano/tokenizer',
    template='plain',
    frozen=False,
)
model['mask_decoder']['image_encoder'].update(embed_dim=192, depth=6, num_heads=6, global_attn_indexes=(2, 5), out_channels=128)
model['mask_decoder'].update(mlp_dim=512)
train_dataloader['dataset'].update(phrases_per_image=9, questions_per_image=0)
val_dataloader['dataset'].update(indices=None)
train_cfg = dict(type='IterTrainLoop', max_iters=max_iters, val_interval=4750)
