"""What is trained: adapters, new rows, everything, nothing; saved, loaded, merged."""

from __future__ import annotations

import copy
import re
import shutil
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from lisa_mm.checkpoints import folder as folders
from lisa_mm.checkpoints.exported import load_exported, write_exported
from lisa_mm.checkpoints.exporting import MergedModel, table_of
from lisa_mm.checkpoints.parts import export_parts
from lisa_mm.checkpoints.published import check_types
from lisa_mm.checkpoints.sources import WeightFiles
from lisa_mm.checkpoints.streaming import StreamedModel, can_stream
from lisa_mm.checkpoints.table import MERGED
from lisa_mm.datasets.tokenizer import added_tokens, build_tokenizer
from lisa_mm.engine.hooks.parameters_hook import count_parameters
from lisa_mm.errors import CheckpointError, ConfigError
from lisa_mm.models import LISA
from lisa_mm.models.lora import apply_lora
from lisa_mm.models.new_rows import merge_new_rows
from lisa_mm.models.phases import shapes_only

from .families import CLIP, MAKERS, TEXT, TOKENIZER, mask_decoder, whole_model
from .language_families import language_model
from .whole import LORA, SAM, batch, build, gradients_are_where_they_belong, sample

SIZE = (48, 64)
# features of the layer before the last: adapters in the last would have no part in them
TOWER = dict(type='CLIPVisionTower', config={key: value for key, value in CLIP.items() if key != 'model_type'}, full_view=True)
LAYERS = 'mllm.language_model.model.model.layers.'
SMALL = dict(r=2, lora_alpha=4, target_modules='all-linear')
# Settings of LISA -> what the names of trained parameters of the language model look like
TUNINGS = {
    'names': (dict(lora=LORA), r'.*self_attn\.(q|v)_proj\.lora_.*'),
    'all_linear': (dict(lora=SMALL), r'.*layers\.\d\..*_proj\.lora_.*'),
    'regex': (
        dict(lora=dict(SMALL, target_modules=r'layers\.1\..*\.(gate|up)_proj')),
        r'.*layers\.1\.mlp\.(gate|up)_proj\.lora_.*',
    ),
    'dora': (dict(lora=dict(LORA, use_dora=True)), r'.*self_attn\.(q|v)_proj\.lora_(A|B|magnitude_vector)\..*'),
    'rslora': (dict(lora=dict(LORA, use_rslora=True)), r'.*self_attn\.(q|v)_proj\.lora_.*'),
    'pissa': (dict(lora=dict(LORA, init_lora_weights='pissa')), r'.*self_attn\.(q|v)_proj\.lora_.*'),
    'tower': (dict(lora=dict(LORA, vision_tower=SMALL)), r'.*self_attn\.(q|v)_proj\.lora_.*'),
    'encoder': (dict(lora=dict(LORA, image_encoder=SMALL)), r'.*self_attn\.(q|v)_proj\.lora_.*'),
    'encoder_alone': (dict(lora=dict(image_encoder=SMALL), tuning='frozen'), r'nothing'),
    'new_rows': (dict(lora=None, tuning='frozen', train_embeddings='new_rows'), r'.*\.new_rows'),
    'lora_and_new_rows': (dict(lora=LORA, train_embeddings='new_rows'), r'.*\.new_rows|.*(q|v)_proj\.lora_.*'),
    'full': (dict(lora=None, tuning='full'), r'.*layers.*(weight|bias)|.*norm.weight|.*(embed_tokens|lm_head)\.weight'),
    'frozen': (dict(lora=None, tuning='frozen', train_embeddings=False), r'nothing'),
}


@pytest.fixture(scope='module')
def arguments(tmp_path_factory):
    """An untied Llama on a folder, with too few rows for the new tokens, and a whole model."""
    root = tmp_path_factory.mktemp('models')
    torch.manual_seed(5)
    written = AutoConfig.for_model('llama', **dict(TEXT, vocab_size=1200))
    AutoModelForCausalLM.from_config(written).save_pretrained(root / 'llama')
    language_model = dict(type='CausalLM', pretrained=str(root / 'llama'), tokenizer=str(TOKENIZER), template='plain')
    parts = dict(type='LlavaMLLM', vision_tower=TOWER, projector=dict(type='LinearProjector'), language_model=language_model)
    (root / 'qwen').mkdir()
    return {'parts': parts, 'whole': whole_model('qwen2_5_vl', root / 'qwen')}


def step(model: LISA) -> dict[str, torch.nn.Parameter]:
    """One backward; the trained parameters by name."""
    data = batch(model, sample(model, SIZE, 'two'), sample(model, (100, 30), 'one', 1))
    losses = model(**data, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    return gradients_are_where_they_belong(model)


def outputs(model: LISA) -> tuple[torch.Tensor, torch.Tensor]:
    """Word logits and mask logits."""
    with torch.no_grad():
        out = model.eval()(**batch(model, sample(model, SIZE, 'two')), mode='tensor')
    return out['word_logits'], out['mask_logits'][0]


def move(model: LISA) -> None:
    """One optimizer step."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    step(model.train())
    optimizer.step()
    optimizer.zero_grad()


def of_language(names) -> list[str]:
    return [n for n in names if n.startswith('mllm.') and 'vision' not in n and 'visual' not in n]


@pytest.mark.parametrize('kind', ['parts', 'whole'])
@pytest.mark.parametrize('tuning', TUNINGS)
def test_one_step(arguments, kind, tuning):
    """Gradients exactly where they belong, and a mask of the original size."""
    settings, names = TUNINGS[tuning]
    model = build(arguments[kind], **settings).train()
    trained = step(model)
    language = of_language(trained)
    if settings.get('train_embeddings', True) is True:  # whole matrices
        assert sum(name.endswith(('embed_tokens.weight', 'lm_head.weight')) for name in language) in (1, 2)
        language = [name for name in language if not name.endswith(('embed_tokens.weight', 'lm_head.weight'))]
    odd = [name for name in language if not re.fullmatch(names, name)]
    assert not odd
    assert bool(language) == (names != 'nothing')
    in_tower = [name for name in trained if 'vision' in name or 'visual' in name]
    in_encoder = [name for name in trained if 'image_encoder' in name]
    assert bool(in_tower) == (tuning == 'tower')
    assert bool(in_encoder) == tuning.startswith('encoder')
    assert all('lora_' in name for name in in_tower + in_encoder)
    assert not any('merger' in name for name in in_tower)
    assert any(name.startswith('mask_decoder.decoder') for name in trained)
    assert any(name.startswith('seg_head') for name in trained)
    assert outputs(model)[1].shape == (3, *SIZE)


@pytest.mark.parametrize('kind', ['sam', 'sam_hq', 'sam2', 'sam3_tracker'])
def test_adapters_in_every_image_encoder(arguments, kind):
    plain = build(arguments['parts'], mask_decoder(kind), lora=LORA).train()
    model = build(arguments['parts'], mask_decoder(kind), lora=dict(LORA, image_encoder=SMALL)).train()
    inside = [name for name in step(model) if 'vision_encoder' in name]
    assert inside
    assert all('lora_' in name for name in inside)
    # the graph that the adapters need does not change what is computed without them
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'vision_encoder' in name and 'lora_B' in name:
                parameter.zero_()
    plain.load_state_dict(model.state_dict(), strict=False)
    state = {name.replace('.base_layer.', '.'): value for name, value in model.state_dict().items()}
    encoder = plain.mask_decoder.model.vision_encoder
    prefix = 'mask_decoder.model.vision_encoder.'
    encoder.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix) and 'lora_' not in n})
    assert_close(outputs(model)[1], outputs(plain)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('family', MAKERS)
def test_adapters_in_the_tower_of_every_whole_model(family, tmp_path):
    """Not in its projector, and nowhere where they would have no part in the features."""
    model = build(whole_model(family, tmp_path), lora=dict(LORA, vision_tower=SMALL)).train()
    for name, parameter in model.named_parameters():
        if name.endswith('mm_input_projection_weight'):  # Gemma 3's projector begins at zero
            torch.nn.init.normal_(parameter, std=0.1)
    inside = [name for name in step(model) if 'vision' in name or 'visual' in name]
    assert inside
    assert all('lora_' in name for name in inside)
    assert not any('projector' in name or 'merger' in name or 'connector' in name for name in inside)


def test_adapted_parts_stay_in_eval_mode_but_for_the_adapters_dropout(arguments):
    drop = dict(SMALL, lora_dropout=0.5)
    model = build(arguments['parts'], lora=dict(LORA, vision_tower=drop, image_encoder=drop)).train()
    for part in (model.mllm.vision_tower, model.mask_decoder.image_encoder):
        layers = [module for module in part.modules() if isinstance(module, LoraLayer)]
        assert layers
        assert all(layer.lora_dropout['default'].training for layer in layers)
        own = [m for m in part.modules() if isinstance(m, torch.nn.LayerNorm)]
        assert not any(module.training for module in own)
        assert not part.training
    assert not any(layer.lora_dropout['default'].training for layer in model.eval().modules() if isinstance(layer, LoraLayer))


def test_rslora_scales_by_the_root_of_the_rank(arguments):
    scales = set()
    for rslora in (False, True):
        model = build(arguments['parts'], lora=dict(r=4, lora_alpha=4, target_modules=['q_proj'], use_rslora=rslora))
        layer = next(module for module in model.modules() if isinstance(module, LoraLayer))
        scales.add(layer.scaling['default'])
    assert scales == {1.0, 2.0}  # alpha / r and alpha / sqrt(r)


def test_initialisations(arguments):
    """Gaussian: A of standard deviation 1 / r. PiSSA: the largest singular values, taken out of W."""
    plain = LISA(**whole(arguments, lora=dict(LORA, init_lora_weights='gaussian')))
    a = torch.cat([p.flatten() for n, p in plain.named_parameters() if 'lora_A' in n])
    assert a.std().item() == pytest.approx(1 / LORA['r'], rel=0.15)  # 256 numbers
    pissa = LISA(**whole(arguments, lora=dict(LORA, init_lora_weights='pissa')))
    name = LAYERS + '0.self_attn.q_proj'
    layer: Any = pissa.get_submodule(name)
    before: Any = plain.get_submodule(name)
    weight = before.get_base_layer().weight
    assert_close(layer.get_base_layer().weight + layer.get_delta_weight('default'), weight, atol=1e-6, rtol=1e-6)
    largest = torch.linalg.svdvals(weight)[: LORA['r']]
    assert_close(torch.linalg.svdvals(layer.get_delta_weight('default'))[: LORA['r']], largest, atol=1e-5, rtol=1e-5)


def whole(arguments, **settings):
    """Arguments of a LISA."""
    losses = dict(ce=dict(type='CrossEntropyLoss'), bce=dict(type='MaskBCELoss'), dice=dict(type='MaskDiceLoss'))
    parts = dict(mllm=arguments['parts'], mask_decoder=SAM, seg_head=dict(type='SegTokenHead'), losses=losses)
    return copy.deepcopy({**parts, **settings})


@pytest.mark.parametrize('family', ['llama', 'qwen2', 'gemma2', 'gemma3_text'])
def test_new_rows_compute_what_the_whole_matrix_would(arguments, family):
    """Untied, tied, scaled, soft-capped: the same losses, the same gradients of these rows, and none of the others."""
    if family == 'llama':
        mllm = arguments['parts']
    else:
        mllm = dict(arguments['parts'], language_model=language_model(family))
    settings = dict(lora=None, tuning='frozen')
    rows = build(mllm, **settings, train_embeddings='new_rows').train()
    whole = build(mllm, **settings, train_embeddings=True).train()
    language: Any = rows.mllm.language_model.model
    embeddings, head = language.get_input_embeddings(), language.get_output_embeddings()
    tied = head.weight is embeddings.weight
    assert tied == family.startswith(('qwen', 'gemma'))
    assert (head.new_rows is embeddings.new_rows) == tied
    tokenizer = build_tokenizer(**rows.mllm.tokenizer_spec)
    ids = tokenizer.convert_tokens_to_ids(added_tokens(True))
    same = {n: p for n, p in rows.state_dict().items() if 'new_rows' not in n}
    whole.load_state_dict(same)
    reference: Any = whole.mllm.language_model.model
    with torch.no_grad():
        for matrix, model_rows in ((reference.get_input_embeddings(), embeddings), (reference.get_output_embeddings(), head)):
            matrix.weight[ids] = model_rows.new_rows
    found = []
    for model in (rows, whole):
        data = batch(model, sample(model, SIZE, 'two'))
        losses = model(**data, mode='loss')
        sum(losses.values()).backward()
        found.append(losses)
    for key, value in found[0].items():
        assert_close(value, found[1][key], atol=1e-6, rtol=1e-6)
    assert embeddings.weight.grad is None
    assert head.weight.grad is None
    assert_close(embeddings.new_rows.grad, reference.get_input_embeddings().weight.grad[ids], atol=1e-6, rtol=1e-5)
    assert_close(head.new_rows.grad, reference.get_output_embeddings().weight.grad[ids], atol=1e-6, rtol=1e-5)


def test_only_the_new_rows_move(arguments):
    model = build(arguments['parts'], lora=LORA, train_embeddings='new_rows')
    language: Any = model.mllm.language_model.model
    matrices = (language.get_input_embeddings(), language.get_output_embeddings())
    before = [(merge_new_rows(matrix, matrix.weight), matrix.new_row_ids.tolist()) for matrix in matrices]
    move(model)
    for matrix, (old, ids) in zip(matrices, before, strict=True):
        assert ids == [1200, 1201, 1202]
        moved = (merge_new_rows(matrix, matrix.weight) != old).any(1).nonzero().flatten().tolist()
        assert moved == ids
    counts = count_parameters(model)
    assert counts['mllm.language_model (new rows)'] == (2 * 3 * 32, 2 * 3 * 32)
    assert counts['mllm.language_model (embeddings+head)'] == (2 * 1203 * 32, 0)


def test_the_table_shows_adapters_by_part(arguments):
    counts = count_parameters(build(arguments['parts'], lora=dict(LORA, vision_tower=SMALL, image_encoder=SMALL)))
    for part in ('mllm.vision_tower', 'mask_decoder.image_encoder'):
        assert counts[part][1] == 0
        total, trained = counts[f'{part} (lora)']
        assert total == trained > 0
    counts = count_parameters(
        build(arguments['whole'], mask_decoder('sam2'), lora=dict(LORA, vision_tower=SMALL, image_encoder=SMALL))
    )
    assert counts['mllm.visual (lora)'][1] > 0
    assert counts['mask_decoder.image_encoder (lora)'][1] > 0


def checkpoint(model: LISA, folder) -> None:
    folder.mkdir()
    folders.write_json(folder / folders.META, {'weights_sha256': folders.write_weights(folder, folders.model_weights(model))})
    folders.write_json(folder / folders.FROZEN, folders.describe_frozen(model))


@pytest.mark.parametrize('tuning', TUNINGS)
def test_a_checkpoint_gives_the_same_model(arguments, tuning, tmp_path):
    """Into a model that was built from another seed: what no file holds is in the checkpoint, what a file holds is compared."""
    settings, _ = TUNINGS[tuning]
    model = build(arguments['parts'], **settings)
    move(model)
    checkpoint(model, tmp_path / 'iter_1')
    torch.manual_seed(77)
    other = LISA(**whole(arguments, **settings))  # its rows of the new tokens are others
    assert not torch.equal(outputs(other)[1], outputs(model)[1])
    folders.load_weights(other, tmp_path / 'iter_1')
    for ours, theirs in zip(outputs(other), outputs(model), strict=True):
        assert torch.equal(ours, theirs)
    held = set(folders.open_weights(tmp_path / 'iter_1').info)
    if settings.get('train_embeddings') == 'new_rows':
        assert sum(name.endswith('new_rows') for name in held) == 2
        assert not any(name.endswith(('embed_tokens.weight', 'lm_head.weight')) for name in held)
    assert any('base_layer' in name for name in held if name.startswith(LAYERS)) == (tuning == 'pissa')


@pytest.mark.parametrize('tuning', TUNINGS)
def test_an_exported_folder_gives_the_same_model(arguments, tuning, tmp_path):
    """Merged into whole matrices; read under fresh adapters, and without any."""
    settings, _ = TUNINGS[tuning]
    model = build(arguments['parts'], **settings)
    move(model)
    merged = MergedModel(model.eval())
    record = {'seg_token_id': model.seg_token_id}
    write_exported(tmp_path / 'out', merged, {}, tokenizer=None, table='', record=record, max_bytes=1 << 40)
    plain = dict(lora=None, tuning='frozen')
    for fresh in (settings, plain):
        torch.manual_seed(78)
        other = LISA(**whole(arguments, **fresh))
        load_exported(other, tmp_path / 'out')
        for ours, theirs in zip(outputs(other), outputs(model), strict=True):
            assert_close(ours, theirs, atol=2e-5, rtol=2e-5)
    beside = [row for row in table_of(model).rows if 'lora_' in row.source or 'new_rows' in row.source]
    assert all(row.status == MERGED and row.target in merged.info for row in beside)


@pytest.fixture(scope='module')
def start(arguments, tmp_path_factory):
    """An exported folder to train from."""
    folder = tmp_path_factory.mktemp('start') / 'out'
    plain = build(arguments['parts'], lora=None, tuning='frozen')
    record = {'seg_token_id': plain.seg_token_id}
    write_exported(folder, MergedModel(plain), {}, tokenizer=None, table='', record=record, max_bytes=100_000)
    return folder


def trained_from(start, arguments, settings: dict, folder) -> LISA:
    """A model one step after an exported folder; its checkpoint."""
    model = build(arguments['parts'], **settings)
    load_exported(model, start)
    move(model)
    checkpoint(model, folder)
    return model


def on_shapes(arguments, settings: dict) -> LISA:
    with shapes_only():
        return LISA(**whole(arguments, **settings))


@pytest.mark.parametrize('tuning', TUNINGS)
def test_a_checkpoint_streams_to_the_tensors_of_the_built_model(arguments, start, tuning, tmp_path):
    settings, _ = TUNINGS[tuning]
    built = MergedModel(trained_from(start, arguments, settings, tmp_path / 'iter_1').eval())
    shapes, files = on_shapes(arguments, settings), WeightFiles(start)
    assert can_stream(shapes, files, tmp_path / 'iter_1')
    streamed = StreamedModel(shapes, files, tmp_path / 'iter_1')
    assert list(streamed.info.items()) == list(built.info.items())
    for name in built.info:
        assert torch.equal(streamed.read(name), built.read(name)), name
        assert not streamed.read(name).requires_grad


def test_what_cannot_be_streamed(arguments, start, tmp_path):
    settings = dict(lora=LORA)
    trained_from(start, arguments, settings, tmp_path / 'iter_1')
    shapes = on_shapes(arguments, settings)
    # a folder without a part that is frozen: it was read from elsewhere
    files = WeightFiles(start)
    files.info = {name: info for name, info in files.info.items() if not name.startswith('mllm.vision_tower')}
    assert not can_stream(shapes, files, tmp_path / 'iter_1')
    # adapters that the checkpoint lacks
    more = on_shapes(arguments, dict(lora=dict(LORA, vision_tower=SMALL)))
    assert not can_stream(more, WeightFiles(start), tmp_path / 'iter_1')
    # another frozen part than that of the training
    other = tmp_path / 'other'
    shutil.copytree(start, other)
    name = 'mllm.vision_tower.model.embeddings.class_embedding'
    path = next(path for path in other.glob('*.safetensors') if name in load_file(path))
    save_file({key: value + (key == name) for key, value in load_file(path).items()}, path)
    streamed = StreamedModel(shapes, WeightFiles(other), tmp_path / 'iter_1')
    with pytest.raises(CheckpointError, match=r'the frozen mllm.vision_tower.model.embeddings is another one'):
        streamed.read(name)
    # a checkpoint of another model
    for settings, words in (
        (dict(lora=dict(LORA, r=LORA['r'] + 1)), 'of another shape: .*lora_A'),
        (dict(lora=None, tuning='frozen'), 'frozen tensors that the model has not'),
        (dict(lora=SMALL), 'missing: the model trains'),
    ):
        with pytest.raises(CheckpointError, match=rf'(?s)does not fit the model:.*{words}'):
            StreamedModel(on_shapes(arguments, settings), WeightFiles(start), tmp_path / 'iter_1')


def test_what_a_user_can_get_wrong(arguments):
    def fault(**settings) -> str:
        with pytest.raises(ConfigError) as caught:
            LISA(**whole(arguments, **{'lora': LORA, **settings}))
        assert len(caught.value.faults) == 1
        return str(caught.value)

    assert "allowed: True, False, 'new_rows'" in fault(train_embeddings='rows')
    assert "Did you mean 'q_proj'" in fault(lora=dict(LORA, target_modules=['q_prj']))
    assert "'a', 'b' match no layer of the language model" in fault(lora=dict(LORA, target_modules=['a', 'b', 'q_proj']))
    assert 'embed_tokens is a Embedding' in fault(lora=dict(LORA, target_modules=['embed_tokens', 'q_proj']))
    assert "='encoder.*' matches no layer" in fault(lora=dict(LORA, target_modules='encoder.*'))
    assert 'is no regular expression' in fault(lora=dict(LORA, target_modules='(q'))
    assert "'alpha'. Did you mean 'lora_alpha'" in fault(lora=dict(LORA, alpha=3))
    assert 'set model.train_embeddings for embeddings' in fault(lora=dict(LORA, modules_to_save=['lm_head']))
    assert "set model.train_embeddings='new_rows'" in fault(lora=dict(LORA, trainable_token_indices=[3]))
    assert 'others need data' in fault(lora=dict(LORA, init_lora_weights='eva'))
    assert "don't go together" in fault(lora=dict(LORA, init_lora_weights='pissa', use_dora=True))
    assert 'model.lora.target_modules is missing' in fault(lora=dict(r=2))
    assert 'model.lora.vision_tower.target_modules is missing' in fault(lora=dict(LORA, vision_tower=dict(r=2)))
    assert 'matches no layer of the image encoder' in fault(lora=dict(LORA, image_encoder=dict(r=2, target_modules=['q_proj'])))
    tower = dict(arguments['parts'], vision_tower=dict(TOWER, frozen=False))
    assert 'model.lora.vision_tower: this part is trained itself' in fault(mllm=tower, lora=dict(LORA, vision_tower=SMALL))
    assert 'tuning for lora=None only' in fault(tuning='frozen')


def test_pissa_needs_whole_weights():
    layer = torch.nn.Sequential(torch.nn.Linear(4, 4))
    layer[0].weight.ds_id = 0  # as ZeRO-3 marks a weight it has cut up
    with pytest.raises(ConfigError, match='Take ZeRO stage 2'):
        apply_lora(layer, dict(r=2, target_modules='all-linear', init_lora_weights='pissa'))


def test_parts_with_adapters_are_not_written_as_they_are(arguments, tmp_path):
    for settings in (dict(lora=LORA), dict(lora=None, tuning='frozen', train_embeddings='new_rows')):
        with pytest.raises(CheckpointError, match='Export it as one folder'):
            export_parts(build(arguments['parts'], **settings), tmp_path / 'parts')


@pytest.mark.parametrize('change', [dict(lora=dict(LORA, vision_tower=SMALL)), dict(tower=dict(frozen=False))])
def test_a_trained_tower_is_not_lost_in_the_published_layout(change, tmp_path):
    parts = dict(projector=dict(type='LinearProjector'), language_model=dict(type='CausalLM', config=dict(model_type='llama')))
    tower = dict(TOWER, **change.get('tower', {}))
    model = dict(
        mllm=dict(type='LlavaMLLM', vision_tower=tower, **parts),
        lora=change.get('lora', LORA),
        seg_head=dict(type='SegTokenHead'),
        mask_decoder=SAM,
    )
    (tmp_path / 'tokenizer.model').touch()
    with pytest.raises(CheckpointError, match=r'the vision tower was trained.*--format folder'):
        check_types(model, tmp_path)
    check_types(dict(model, lora=LORA, mllm=dict(model['mllm'], vision_tower=TOWER)), tmp_path)
