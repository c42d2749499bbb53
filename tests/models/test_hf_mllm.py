"""Whole multimodal models: their own processors and image tokens, our [SEG], head, decoder and losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from lisa_mm.checkpoints.folder import split_state
from lisa_mm.datasets.processor import image_text, load_processor
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import EncodeConversations
from lisa_mm.errors import CheckpointError, ConfigError, DataError
from lisa_mm.models.mllms import HFMLLM, LlavaMLLM

from .families import CLIP, MAKERS, TEXT, TOKENIZER, whole_model
from .whole import batch, build, gradients_are_where_they_belong, sample

WIDE, TALL = (48, 64), (100, 30)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    made = {}

    def make(family):
        if family not in made:
            made[family] = whole_model(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


@pytest.mark.parametrize('family', MAKERS)
def test_one_training_step(family, folders):
    model = build(folders(family)).train()
    data = batch(model, sample(model, WIDE, 'two'), sample(model, TALL, 'one', 1))
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    trained = gradients_are_where_they_belong(model)
    decoder = model.mllm.decoder
    inside = {id(p) for p in decoder.parameters()} | {id(p) for p in model.mllm.model.get_output_embeddings().parameters()}  # pyright: ignore[reportCallIssue] - a model of transformers
    assert all(id(p) in inside for name, p in trained.items() if name.startswith('mllm.'))  # neither tower nor projector
    assert any('lora_A' in name for name in trained)
    assert not any('lora_' in name for name, _ in model.named_parameters() if 'vision' in name or 'visual' in name)


@pytest.mark.parametrize('family', MAKERS)
def test_states_are_those_of_the_model_with_its_own_processor(family, folders):
    """Ids, positions and image types by the processor's book: without its image types Qwen2.5-VL is silently wrong."""
    model = build(folders(family), lora=None, tuning='frozen').eval()
    data = batch(model, sample(model, WIDE, 'one'))
    folder = model.mllm.preprocess
    assert 'processor' in folder
    processor = load_processor(folder['processor'])
    tokenizer = build_tokenizer(**model.mllm.tokenizer_spec)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*WIDE, 3)).astype(np.uint8))
    text = tokenizer.apply_chat_template(
        [
            {'role': 'user', 'content': image_text(folder['processor']) + '\nthe red box'},
            {'role': 'assistant', 'content': 'It is [SEG].'},
        ],
        tokenize=False,
    )
    processor.tokenizer.add_tokens(['[SEG]'], special_tokens=True)
    load_processor.cache_clear()  # it has one token more now
    wanted = processor(text=[text], images=[picture], return_tensors='pt', text_kwargs={'add_special_tokens': False})
    with torch.no_grad():
        reference = model.mllm.model(**wanted, output_hidden_states=True)  # pyright: ignore[reportCallIssue] - a model of transformers
        out = model.mllm(data['inputs'], torch.ones_like(data['inputs']['input_ids'], dtype=torch.bool))
    assert wanted['input_ids'].shape == data['inputs']['input_ids'].shape
    assert_close(out.hidden_states, reference.hidden_states[-1], atol=1e-5, rtol=1e-5)
    assert_close(out.logits, reference.logits[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('family', MAKERS)
def test_two_sizes_in_a_batch_equal_single_runs(family, folders):
    model = build(folders(family)).eval()
    items = [sample(model, WIDE, 'two'), sample(model, TALL, 'one', 1)]
    with torch.no_grad():
        together = model(**batch(model, *items), mode='tensor')
        alone = [model(**batch(model, item), mode='tensor') for item in items]
    mask = batch(model, *items)['inputs']['attention_mask']
    states = [state for single in alone for state in single['hidden_states']]  # of each row, with its own padding
    assert mask.shape[0] == len(states) == 3
    for row, state in enumerate(states):
        length = int(mask[row].sum())
        assert_close(together['hidden_states'][row, :length], state[:length], atol=1e-5, rtol=1e-5)
    for number, single in enumerate(alone):
        assert_close(together['mask_logits'][number], single['mask_logits'][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('family', MAKERS)
def test_generation_is_the_teacher_forced_argmax(family, folders):
    model = build(folders(family)).eval()
    data = batch(model, sample(model, WIDE, 'one'))
    inputs = {**data['inputs']}
    cut = 4  # asks in the middle of the row: the text does not matter here
    inputs['input_ids'], inputs['attention_mask'] = inputs['input_ids'][:, :-cut], inputs['attention_mask'][:, :-cut]
    out, masks = model.answer(inputs, data['data_samples'][0], max_new_tokens=6, eos_token_id=None, pad_token_id=3)
    assert len(out.ids) == inputs['input_ids'].shape[1] + 6
    assert out.hidden_states.shape == (len(out.ids) - 1, model.mllm.hidden_size)
    again = {**inputs, 'input_ids': out.ids[None, :-1], 'attention_mask': torch.ones(1, len(out.ids) - 1, dtype=torch.bool)}
    with torch.no_grad():
        forced = model.mllm(again, again['attention_mask'])
    assert_close(forced.hidden_states[0], out.hidden_states, atol=1e-5, rtol=1e-5)
    assert forced.logits[-6:].argmax(-1).tolist() == out.ids[-6:].tolist()
    assert masks.shape[1:] == WIDE


def test_each_image_is_encoded_once(folders):
    model = build(folders('llava')).eval()
    data = batch(model, sample(model, WIDE, 'two'), sample(model, TALL, 'one', 1))
    seen = []

    def count(module, args, kwargs):
        seen.append(len(args[0] if args else kwargs['pixel_values']))

    model.mllm.model.model.vision_tower.register_forward_pre_hook(count, with_kwargs=True)
    model(**data, mode='loss')
    assert data['inputs']['input_ids'].shape[0] == 3
    assert seen == [2]


def test_rows_without_images_and_batches_without_masks(folders):
    model = build(folders('qwen2_5_vl')).train()
    data = batch(model, sample(model, WIDE, 'none'))
    losses = model(**data, mode='loss')
    assert losses['loss_mask_bce'] == 0
    inputs = {'input_ids': torch.tensor([[1, 5, 6]]), 'attention_mask': torch.ones(1, 3, dtype=torch.bool)}
    inputs |= {'image_index': torch.tensor([-1]), 'image_inputs': []}
    assert model.mllm(inputs, inputs['attention_mask']).hidden_states.shape == (1, 3, 32)


def test_llava_equals_one_put_together_by_hand(folders):
    arguments = folders('llava')
    whole = build(arguments, lora=None, tuning='frozen').eval()
    parts = LlavaMLLM(
        vision_tower=dict(type='CLIPVisionTower', config={k: v for k, v in CLIP.items() if k != 'model_type'}, full_view=True),
        projector=dict(type='MLPProjector'),
        language_model=dict(
            type='CausalLM', config=dict(model_type='llama', **TEXT), tokenizer=str(TOKENIZER), template='plain', wrap_image=False
        ),
    ).eval()
    state = whole.mllm.model.state_dict()

    def under(prefix):
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

    # two linear layers with bias on both sides, in order
    names = list(parts.projector.state_dict())
    projector = dict(zip(names, under('model.multi_modal_projector.').values(), strict=True))
    parts.projector.load_state_dict(projector)
    parts.vision_tower.model.load_state_dict(under('model.vision_tower.'))
    words = {f'model.{key}': value for key, value in under('model.language_model.').items()}
    parts.language_model.model.load_state_dict({**words, 'lm_head.weight': state['lm_head.weight']})
    data = batch(whole, sample(whole, WIDE, 'two'), sample(whole, TALL, 'one', 1))
    inputs = data['inputs']
    keep = inputs['attention_mask']
    with torch.no_grad():
        a = whole.mllm(inputs, keep)
        pixels = torch.cat([image['pixel_values'] for image in inputs['image_inputs']])
        b = parts({**inputs, 'pixel_values': pixels}, keep)
    assert_close(a.hidden_states[keep], b.hidden_states[keep], atol=1e-6, rtol=1e-6)
    assert_close(a.logits, b.logits, atol=1e-6, rtol=1e-6)


def test_projector_and_tower_train_when_asked(folders):
    arguments = dict(folders('llava'), projector_frozen=False)
    model = build(arguments).train()
    data = batch(model, sample(model, WIDE, 'one'))
    sum(model(**data, mode='loss').values()).backward()
    trained = gradients_are_where_they_belong(model)
    assert any('multi_modal_projector' in name for name in trained)
    assert not any('vision_tower' in name for name in trained)
    tower = build(dict(folders('qwen2_5_vl'), vision_frozen=False)).train()
    data = batch(tower, sample(tower, WIDE, 'one'))
    sum(tower(**data, mode='loss').values()).backward()
    assert any('visual.blocks' in name for name in gradients_are_where_they_belong(tower))
    assert not tower.mllm.model.model.visual.merger.mlp[0].weight.requires_grad  # pyright: ignore[reportIndexIssue] - a Sequential


def test_all_linear_stays_in_the_language_model(folders):
    model = build(folders('qwen2_5_vl'), lora=dict(r=2, target_modules='all-linear'))
    adapted = [name for name, module in model.named_modules() if hasattr(module, 'lora_A')]
    assert adapted
    assert all(name.startswith('mllm.model.model.language_model.layers.') for name in adapted)


def test_frozen_parts_stay_in_eval_mode(folders):
    model = build(folders('llava')).train()
    assert not model.mllm.model.model.vision_tower.training
    assert model.mllm.model.model.language_model.training
    assert not build(folders('llava'), lora=None, tuning='frozen').train().mllm.model.model.language_model.training


def test_a_folder_holds_what_is_frozen(folders, tmp_path):
    arguments = folders('llava')
    first = build(arguments, lora=None, tuning='frozen')
    first.mllm.model.save_pretrained(tmp_path / 'weights')  # pyright: ignore[reportCallIssue] - a model of transformers
    assert len(split_state(first)[1]) == 0  # random and frozen: no file holds it but the checkpoint
    read = build(dict(type='HFMLLM', pretrained=str(tmp_path / 'weights'), processor=arguments['processor']))
    assert_close(read.mllm.model.lm_head.weight, first.mllm.model.lm_head.weight)
    trained, frozen = split_state(read)
    assert any('vision_tower' in name for name in frozen)
    assert not any('vision_tower' in name for name in trained)
    assert any('lora_A' in name for name in trained)


def test_seg_gets_a_row_of_its_own(folders, tmp_path):
    arguments = folders('llava')
    small = dict(arguments['config'], text_config=dict(arguments['config']['text_config'], vocab_size=1201))
    model = build(dict(arguments, config=small))
    tokenizer = build_tokenizer(**model.mllm.tokenizer_spec)
    assert model.seg_token_id == tokenizer.convert_tokens_to_ids('[SEG]') == 1201
    assert model.mllm.model.get_input_embeddings().weight.shape[0] == 1202  # pyright: ignore[reportCallIssue] - a model of transformers
    assert model.mllm.model.get_output_embeddings().weight.shape[0] == 1202  # pyright: ignore[reportCallIssue] - a model of transformers


def test_what_a_user_can_get_wrong(folders, tmp_path):
    arguments = folders('llava')
    with pytest.raises(ConfigError, match='needs pretrained=FOLDER or config='):
        HFMLLM()
    with pytest.raises(ConfigError, match='needs processor=FOLDER'):
        HFMLLM(config=arguments['config'])
    with pytest.raises(ConfigError, match='no model of images and text'):
        HFMLLM(config=dict(model_type='llama', **TEXT), processor=arguments['processor'])
    with pytest.raises(ConfigError, match="does not take 'paligemma'"):
        HFMLLM(config=dict(model_type='paligemma'), processor=arguments['processor'])
    with pytest.raises(CheckpointError, match=r'holds no config.json'):
        HFMLLM(pretrained=str(tmp_path))
    model = build(dict(arguments, image_text='picture'))
    with pytest.raises((ValueError, ConfigError), match='token'):  # of the processor, or ours where it says nothing
        sample(model, WIDE, 'one')
    model = build(arguments)
    data = batch(model, sample(model, WIDE, 'one'))
    data['inputs']['input_ids'][0, 12] = 7  # an image token is lost
    del data['inputs']['layout']  # of the ids before
    with pytest.raises(ValueError, match='cut inside its image'):
        model(**data, mode='loss')
    with pytest.raises(DataError, match='leaves no room'):
        EncodeConversations(model.mllm.tokenizer_spec, max_length=10).transform({'image_ids': [-200] * 16, 'test_mode': False})


def test_image_options_reach_the_processor(folders):
    small = build(dict(folders('qwen2_5_vl'), image_options=dict(size=dict(shortest_edge=256, longest_edge=512))))
    assert small.mllm.num_image_tokens(*WIDE) <= 8  # 512 pixels / (2 x 4)^2
