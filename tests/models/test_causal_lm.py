"""Language models by config alone: every family trains, decodes, generates and grows rows the way its own code does."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lisa_mm.errors import ConfigError
from lisa_mm.models import LISA
from lisa_mm.models.language_models import CausalLM
from lisa_mm.models.phases import shapes_only
from lisa_mm.models.transformers_versions import recompute_layers

from .families import CLIP, TEXT
from .language_families import LANGUAGE_FAMILIES, language_model
from .whole import LORA, batch, build, gradients_are_where_they_belong, sample

WIDE, TALL = (48, 64), (100, 30)
TOWER = dict(type='CLIPVisionTower', config={key: value for key, value in CLIP.items() if key != 'model_type'}, full_view=True)
TIED = ('qwen2', 'gemma2', 'gemma3_text', 'smollm3')
TARGETS = {'phi3': ['qkv_proj']}


def with_family(family: str, **settings) -> LISA:
    """A tiny LISA on a language model of this family."""
    parts = dict(vision_tower=TOWER, projector=dict(type='LinearProjector'), language_model=language_model(family))
    lora = dict(LORA, target_modules=TARGETS.get(family, LORA['target_modules']))
    return build(dict(type='LlavaMLLM', **parts), **{'lora': lora, **settings})


@pytest.fixture(scope='module')
def models():
    """Models in eval mode, built once a family."""
    made: dict[str, LISA] = {}

    def make(family: str) -> LISA:
        if family not in made:
            made[family] = with_family(family).eval()
        return made[family]

    return make


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_one_training_step(family):
    model = with_family(family).train()
    data = batch(model, sample(model, WIDE, 'two'), sample(model, TALL, 'one', 1))
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    trained = gradients_are_where_they_belong(model)
    adapted = {name.split('.lora_')[0].rsplit('.', 1)[1] for name in trained if '.lora_' in name}
    assert adapted == set(TARGETS.get(family, LORA['target_modules']))
    matrices = {name for name in trained if name.endswith(('embed_tokens.weight', 'lm_head.weight'))}
    assert len(matrices) == (1 if family in TIED else 2)  # a tied matrix is one parameter
    predicted = model.eval()(**data, mode='predict')
    assert predicted[1].mask_logits.shape == (1, *TALL)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_loss_and_states_are_those_of_the_model_itself(family, models):
    """Of plain ids: soft-capping, windows, layers without rotation and scaled embeddings are the model's own."""
    model = models(family)
    data = batch(model, sample(model, WIDE, 'none'))
    inputs = {**data['inputs']}
    inputs['input_ids'] = inputs['input_ids'].clamp(min=5)  # the image's tokens are words here
    assert inputs['input_ids'].shape[1] > 2 * 8  # longer than a window
    with torch.no_grad():
        ours = model.loss(inputs, data['data_samples'])['loss_ce']
        states = model.mllm(inputs, inputs['attention_mask']).hidden_states
        own = model.mllm.language_model.model(
            input_ids=inputs['input_ids'],
            attention_mask=inputs['attention_mask'],
            labels=inputs['labels'],
            output_hidden_states=True,
            use_cache=False,
        )
    assert_close(ours, own.loss, atol=1e-5, rtol=1e-5)
    assert_close(states, own.hidden_states[-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_padded_rows_equal_single_runs(family, models):
    model = models(family)
    items = [sample(model, WIDE, 'two'), sample(model, TALL, 'one', 1)]
    with torch.no_grad():
        data = batch(model, *items)
        together = model(**data, mode='tensor')
        alone = [model(**batch(model, item), mode='tensor') for item in items]
    states = [state for single in alone for state in single['hidden_states']]
    lengths = data['inputs']['attention_mask'].sum(1).tolist()
    assert len(set(lengths)) == 3
    for row, (length, state) in enumerate(zip(lengths, states, strict=True)):
        assert_close(together['hidden_states'][row, :length], state[:length], atol=1e-5, rtol=1e-5)
    for number, single in enumerate(alone):
        assert_close(together['mask_logits'][number], single['mask_logits'][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_generation_is_the_teacher_forced_argmax(family, models):
    """With the cache, and beyond a window; the states of the new tokens are those that teacher forcing gives."""
    model = models(family)
    data = batch(model, sample(model, WIDE, 'one'))
    inputs = {**data['inputs']}
    inputs['input_ids'], inputs['attention_mask'] = inputs['input_ids'][:, :-4], inputs['attention_mask'][:, :-4]
    out, masks = model.answer(inputs, data['data_samples'][0], max_new_tokens=6, eos_token_id=None, pad_token_id=3)
    assert len(out.ids) == inputs['input_ids'].shape[1] + 6
    assert out.hidden_states.shape == (len(out.ids) - 1, model.mllm.hidden_size)
    again = {**inputs, 'input_ids': out.ids[None, :-1], 'attention_mask': torch.ones(1, len(out.ids) - 1, dtype=torch.bool)}
    with torch.no_grad():
        forced = model.mllm(again, again['attention_mask'])
    assert_close(forced.hidden_states[0], out.hidden_states, atol=1e-5, rtol=1e-5)
    assert forced.logits[-6:].argmax(-1).tolist() == out.ids[-6:].tolist()
    assert masks.shape[1:] == WIDE


def test_a_seg_that_is_generated_becomes_a_mask(models):
    """The head is bent so that [SEG] follows: as many masks as there are [SEG]."""
    model = with_family('qwen3').eval()
    data = batch(model, sample(model, WIDE, 'none'))
    head = model.mllm.output_embeddings()
    with torch.no_grad():
        head.weight[model.seg_token_id] = 0  # pyright: ignore[reportIndexIssue] - a tensor
        head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
        head.bias[model.seg_token_id] = 1e4
    inputs = {**data['inputs']}
    out, masks = model.answer(inputs, data['data_samples'][0], max_new_tokens=3, eos_token_id=None, pad_token_id=3)
    assert out.ids[-3:].tolist() == [model.seg_token_id] * 3
    assert masks.shape == (3, *WIDE)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_rows_are_added_for_the_new_tokens(family):
    arguments = language_model(family)
    arguments['config']['vocab_size'] = 1200
    arguments.pop('type')
    model = CausalLM(**arguments)
    embeddings, head = model.model.get_input_embeddings(), model.model.get_output_embeddings()
    assert model.vocab_size == head.weight.shape[0] == model.model.config.get_text_config().vocab_size == 1203
    assert (head.weight is embeddings.weight) == (family in TIED)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_attention_is_the_models_default_unless_asked(family, models):
    language = models(family).mllm.language_model.model
    assert language.config._attn_implementation == ('eager' if family == 'gemma2' else 'sdpa')
    arguments = dict(language_model(family), attention='eager')
    arguments.pop('type')
    assert CausalLM(**arguments).model.config._attn_implementation == 'eager'


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_gradient_checkpointing_gives_the_same_gradients(family):
    found = []
    for checkpointing in (False, True):
        model = with_family(family)
        if checkpointing:
            recompute_layers(model.mllm.decoder)
        model.train()
        data = batch(model, sample(model, WIDE, 'one'))
        sum(model(**data, mode='loss').values()).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_fused_projections_have_other_names():
    """Phi-3 has no q_proj: one clear error names what there is."""
    with pytest.raises(ConfigError) as caught:
        with_family('phi3', lora=LORA)
    assert len(caught.value.faults) == 1
    text = str(caught.value)
    assert "'q_proj', 'v_proj' match no layer of the language model" in text
    assert "Did you mean 'qkv_proj'?" in text
    assert (
        "Linear layers of the language model: down_proj, gate_up_proj, o_proj, qkv_proj. 'all-linear' takes all of them." in text
    )


def test_what_a_user_can_get_wrong():
    with pytest.raises(ConfigError, match=r'needs pretrained=FOLDER or config='):
        CausalLM()
    with pytest.raises(ConfigError, match=r'needs tokenizer=FOLDER'):
        CausalLM(config=dict(model_type='llama', **TEXT))
    with pytest.raises(ConfigError, match=r'needs model_type'):
        CausalLM(config=TEXT, tokenizer='x')
    with pytest.raises(ConfigError, match=r"model_type 'lama' is unknown.*Did you mean 'llama'"):
        CausalLM(config=dict(model_type='lama'), tokenizer='x')
    with pytest.raises(ConfigError, match=r"model_type 'clip_vision_model' is no causal language model"):
        CausalLM(config=dict(model_type='clip_vision_model'), tokenizer='x')
    tiny = language_model('llama')
    tiny.pop('type')
    with pytest.raises(ConfigError, match=r"LlamaConfig has no 'hidden_sise'. Did you mean 'hidden_size'"):
        CausalLM(config=dict(model_type='llama', hidden_sise=32), tokenizer=tiny['tokenizer'])
    with pytest.raises(ConfigError, match=r'is no LlamaConfig: .*is not a multiple of the number of attention heads'):
        CausalLM(**{**tiny, 'config': dict(tiny['config'], hidden_size=30)})
    with pytest.raises(ConfigError, match=r"template 'chatml' is unknown"):
        CausalLM(config=dict(model_type='llama', **TEXT), tokenizer=language_model('llama')['tokenizer'], template='chatml')


def test_quantised_weights_are_refused_with_one_reason(tmp_path, monkeypatch):
    """Arguments are checked everywhere; where the model is built, what is lacking is said too."""
    language = language_model('llama')
    language.pop('type')
    CausalLM(**language).model.save_pretrained(tmp_path)
    folder = dict(pretrained=str(tmp_path), tokenizer=language['tokenizer'], template='plain')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'needs the package bitsandbytes, not found here'):
        CausalLM(**folder, quantization=dict(load_in_4bit=True))
    monkeypatch.undo()
    with shapes_only():  # as check_config: on the machine that trains there may be one
        assert CausalLM(**folder, quantization=dict(load_in_4bit=True)).quantization == dict(load_in_4bit=True)
    with shapes_only(), pytest.raises(ConfigError, match=r"'load_in_4bits'. Did you mean 'load_in_4bit'"):
        CausalLM(**folder, quantization=dict(load_in_4bits=True))
    with pytest.raises(ConfigError, match='set one of load_in_4bit=True, load_in_8bit=True'):
        CausalLM(**folder, quantization=dict(load_in_4bit=True, load_in_8bit=True))
    with pytest.raises(ConfigError, match='quantises the weights of a folder'):
        CausalLM(**language, quantization=dict(load_in_8bit=True))
    quantized = dict(folder, type='CausalLM', quantization=dict(load_in_4bit=True))
    parts = dict(type='LlavaMLLM', vision_tower=TOWER, projector=dict(type='LinearProjector'), language_model=quantized)
    with shapes_only(), pytest.raises(ConfigError, match="tuning='full' cannot train quantised weights"):
        build(parts, lora=None, tuning='full')
    with shapes_only():
        assert build(parts).lora_targets


@pytest.mark.parametrize('option', ['num_beams', 'num_return_sequences'])
def test_masks_of_several_answers_are_refused(option):
    model = with_family('qwen3').eval()
    data = batch(model, sample(model, (40, 56), 'one'))
    with pytest.raises(ConfigError, match=f'{option}=4.*do_sample=True'):
        model.answer(data['inputs'], data['data_samples'][0], max_new_tokens=3, **{option: 4})


@pytest.mark.parametrize(('talk', 'towers'), [('one', 1), ('none', 1), ('text', 0)])
def test_nothing_is_encoded_twice(talk, towers):
    model = with_family('qwen3').train()
    data = batch(model, sample(model, WIDE, talk))
    seen = []
    model.mask_decoder.image_encoder.register_forward_hook(lambda *_: seen.append('image encoder'))
    model.mllm.vision_tower.register_forward_hook(lambda *_: seen.append('vision tower'))
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert seen.count('image encoder') == 1  # without masks too: every trained parameter gets a gradient, of zeros
    assert seen.count('vision tower') == towers
    assert all(parameter.grad is not None for parameter in model.mask_decoder.parameters() if parameter.requires_grad)
