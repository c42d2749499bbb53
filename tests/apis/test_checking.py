"""check_config: what is known without files, and that nothing unknown is called ok."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lisa_mm
from lisa_mm.apis.checking import check_config, report_text
from lisa_mm.apis.examples import example_conversation

ROOT = Path(__file__).parents[2]
NANO = lisa_mm.get_config('lisa/lisa_nano_pretrain')  # builds without any weights
NANO_TOKENIZER = str(Path(lisa_mm.PACKAGE_DIR) / 'weights' / 'nano' / 'tokenizer')
MIX = ['lisa_7b_mix', 'lisa_13b_mix', 'lisa_7b_llava15_mix', 'lisa_13b_llava15_mix']
LEAVES = [name.replace('_mix', '_reason_seg_ft') for name in MIX]


@pytest.fixture(scope='module')
def reports():
    """A report a config, made once."""
    made = {}

    def report(name):
        if name not in made:
            made[name] = check_config(lisa_mm.get_config(f'lisa/{name}'))
        return made[name]

    return report


@pytest.mark.parametrize(
    ('name', 'width', 'layers', 'image_tokens', 'template'),
    [
        ('lisa_7b_mix', 4096, 32, 256, 'llava_v1'),
        ('lisa_13b_mix', 5120, 40, 256, 'llava_llama_2'),
        ('lisa_7b_llava15_mix', 4096, 32, 576, 'vicuna_v1'),
        ('lisa_13b_llava15_mix', 5120, 40, 576, 'vicuna_v1'),
    ],
)
def test_the_recipe_without_any_file(reports, name, width, layers, image_tokens, template):
    """Numbers by hand from the published recipe."""
    report = reports(name)
    assert report['faults'] == []
    assert report['parts']['mllm.language_model']['width'] == width
    assert report['parts']['mask_decoder']['width'] == 256
    # text 256 beside the image: 512 in all at 224 px
    tokens = {
        'image_tokens': image_tokens,
        'tokens_per_row': 256 + image_tokens,
        'seg_token_id': 32000,
        'mask_tokens': {'[SEG]': 32000},
        'answer_tokens': [],
        'embedding_rows': 32003,
    }
    assert report['tokens'] == tokens
    assert report['template']['name'] == template
    assert report['lora'] == {'modules': 2 * layers, 'by_name': {'q_proj': layers, 'v_proj': layers}}
    trained = {part: entry['trained'] for part, entry in report['parameters'].items()}
    assert trained['mllm.language_model (lora)'] == layers * 2 * 2 * 8 * width  # q and v, A and B, rank 8
    assert trained['mllm.language_model (embeddings+head)'] == 2 * 32003 * width
    assert trained['seg_head'] == width * width + width + width * 256 + 256
    frozen = ('vision_tower', 'projector', 'language_model (base)')
    assert [trained[f'mllm.{part}'] for part in frozen] == [0, 0, 0]
    assert trained['mask_decoder.image_encoder'] == trained['mask_decoder.prompt_encoder'] == 0
    assert report['parameters']['mask_decoder.image_encoder']['all'] == 637_026_048  # SAM ViT-H
    assert 0 < trained['mask_decoder.decoder'] < report['parameters']['mask_decoder.decoder']['all']
    batch = report['batch']
    assert (batch['images_per_step'], batch['steps'], batch['samples']) == (160, 5000, 800_000)
    assert batch['accumulation'] == {1: 80, 2: 40, 4: 20, 8: 10}


@pytest.mark.parametrize('name', LEAVES)
def test_fine_tuning_leaves(reports, name):
    report = reports(name)
    assert report['faults'] == []
    assert report['batch']['images_per_step'] == 160
    mix = reports(name.replace('_reason_seg_ft', '_mix'))
    assert report['parts'] == mix['parts']
    assert report['files']['load_from']['path'] == f'work_dirs/{name.replace("_reason_seg_ft", "_mix")}'


def test_what_needs_absent_files_is_not_called_ok(reports):
    report = reports('lisa_7b_mix')
    text = report_text(report)
    for file in ('pretrained/LLaVA-Lightning-7B-v1-1', 'pretrained/sam_vit_h_4b8939.pth'):
        assert f'not checked: {file} missing' in text
    assert report['template']['round_trip'] == 'not checked'
    assert 'round trip ok' not in text
    assert '«Sure, it is [SEG].</s>»' in text
    json.dumps(report)


WHOLE = ['mllm=qwen2_5_vl_7b', 'mask_decoder=sam2_hiera_l']


def test_a_whole_model_without_its_processor(reports):
    """Widths and layers of the published model; what the processor says is not called ok."""
    report = check_config(lisa_mm.get_config('lisa/lisa_7b_mix'), WHOLE)
    assert report['faults'] == []
    assert (report['parts']['mllm.vision_tower']['width'], report['parts']['mllm.vision_tower']['layers']) == (1280, 32)
    assert (report['parts']['mllm.language_model']['width'], report['parts']['mllm.language_model']['layers']) == (3584, 28)
    assert report['lora'] == {'modules': 56, 'by_name': {'q_proj': 28, 'v_proj': 28}}
    assert report['parameters']['mllm.language_model (lora)']['trained'] == 28 * 8 * ((3584 + 3584) + (3584 + 512))  # 4 kv heads
    assert report['tokens']['image_tokens'] is None
    assert report['tokens']['embedding_rows'] == 152064
    text = report_text(report)
    for what in ('tokens of an image, which the processor says', 'id of [SEG]', 'round trip of the template'):
        assert f'not checked: {what}' in text
    assert 'round trip ok' not in text


def test_rates_and_shares(reports):
    report = reports('lisa_7b_mix')
    assert {rate for rates in report['rates'].values() for rate in rates} == {3e-4}
    assert {group: entry['share'] for group, entry in report['mixture'].items()} == {
        'sem_seg': 9 / 16,
        'refer_seg': 3 / 16,
        'vqa': 3 / 16,
        'reason_seg': 1 / 16,
    }
    nano = check_config(lisa_mm.get_config('lisa/lisa_nano'))
    assert nano['rates']['mask_decoder.decoder'] == [5e-4]  # 5e-3 x 0.1
    assert nano['rates']['seg_head'] == [1e-3]
    assert nano['rates']['mllm.language_model (lora)'] == [5e-3]


@pytest.mark.slow
@pytest.mark.parametrize('name', [*MIX, 'whole'])
def test_check_config_fits_in_3_gb(name):
    """The command's own peak, in a process of its own."""
    config, swaps = (MIX[0], ['--swap', *WHOLE]) if name == 'whole' else (name, [])
    program = 'import resource, runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__"); '
    program += 'print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
    command = [sys.executable, '-c', program, 'tools/check_config.py', f'configs/lisa/{config}.py', *swaps]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) < 3 * 1024**2  # KiB


def test_a_tokenizer_that_is_there_makes_the_round_trip():
    report = check_config(NANO, options=['data_root=no_such_folder'])
    assert report['ok']
    assert report['template']['round_trip'] is True
    assert 'train_dataloader.dataset: no_such_folder missing' in report_text(report)
    assert report['batch']['depends_on_processes']


def test_all_faults_at_once():
    report = check_config(NANO, options=['model.seg_head.prompt_dim=512', 'train_dataloader.dataset.phrases=3'])
    assert not report['ok']
    text = report_text(report)
    assert 'fault: model.seg_head.prompt_dim is 512' in text
    assert "takes no argument 'phrases'" in text
    assert text.endswith('2 faults, 0 not checked')
    assert check_config(NANO, options=['lr=1'])['faults']


def test_a_batch_that_does_not_divide_is_a_fault():
    report = check_config(NANO, options=['strategy.target_batch=7'])
    assert any('target_batch is 7' in fault for fault in report['faults'])


@pytest.mark.parametrize('template', ['llava_v1', 'llava_llama_2', 'vicuna_v1', 'plain'])
def test_the_example_shows_the_same_with_and_without_a_tokenizer(template):
    spec = {'pretrained': NANO_TOKENIZER, 'template': template, 'wrap_image': True}
    with_tokens = example_conversation(spec, 3)
    without = example_conversation({**spec, 'pretrained': 'none'}, 3)
    assert with_tokens.faults == []
    assert with_tokens.missing is None
    assert without.missing == 'none'
    assert with_tokens.trained == without.trained
    for example in (with_tokens, without):
        assert example.text.count('«') == 2
        assert '<image x 3>' in example.text


def test_files_and_memory_of_parts_that_a_whole_model_replaces_are_not_asked_for(tmp_path):
    """``model.update(mllm=...)`` merges in mmengine: the old tower, projector and language model stay in the file's dict."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    config = tmp_path / 'configs' / 'lisa' / 'lisa_qwen2_5_vl_7b_sam2_l.py'
    head, _, _ = config.read_text().partition("model['mllm']")
    config.write_text(head + 'model.update(mllm=mllm, mask_decoder=mask_decoder)\n')
    report = check_config(config, gpus=8, gpu_memory=24.0)
    assert report['faults'] == []
    assert sorted(report['files']) == ['model.mask_decoder.pretrained', 'model.mllm.pretrained']
    assert report['memory']['peak'] > 20 * 2**30
