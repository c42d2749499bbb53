"""Whether a config fits, and which edits would make it."""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import lisa_mm
from lisa_mm.apis.checking import check_config, report_text
from lisa_mm.config import load_config
from lisa_mm.engine.strategies import LisaDDPStrategy
from lisa_mm.engine.strategies.base import FolderCheckpointMixin
from lisa_mm.engine.strategies.memory_plan import MemoryUnknownError
from lisa_mm.errors import ConfigError
from lisa_mm.planning.report import GIB, Estimator, edited, memory_report, memory_text, rows_of_an_image

ROOT = Path(__file__).parents[2]
SEVEN = lisa_mm.get_config('lisa/lisa_7b_mix')
NANO = lisa_mm.get_config('lisa/lisa_nano_pretrain')


@pytest.fixture(scope='module')
def reports():
    """A report a size of GPU, made once."""
    return functools.cache(lambda size: memory_report(load_config(SEVEN), gpus=8, gpu_memory=size))


def test_seven_billion_on_8_x_24(reports):
    """Numbers by hand from the published recipe."""
    report = reports(24)
    assert report['fits']
    assert report['edits'] == []
    lora, embeddings = 32 * 2 * 2 * 8 * 4096, 2 * 32003 * 4096
    head = 4096 * 4096 + 4096 + 4096 * 256 + 256
    trained = lora + embeddings + head
    decoder = report['parameters_trained'] / 2 - trained  # of SAM, about 4 M
    assert 3e6 < decoder < 4.1e6
    assert report['optimizer'] == pytest.approx(12 * (trained + decoder) / 8, rel=1e-6)
    # 32 layers of Llama 7B, CLIP ViT-L/14, SAM ViT-H and its prompt encoder; bf16
    llama = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008 + 2 * 4096) + 4096
    assert report['parameters_frozen'] == pytest.approx(2 * (llama + 304e6 + 637e6), rel=0.001)
    assert report['buckets'] >= 2 * 500_000_000 * 2  # two with overlap_comm, as the recipe has it
    assert report['assumed']['tokens_of_a_row'] == 512
    assert report['assumed']['rows_of_an_image'] == 3
    assert report['activations_with_checkpointing'] * 3 < report['activations_without_checkpointing']
    assert report['peak'] == max(report['forward_backward'], report['step'])


@pytest.mark.slow
def test_what_would_make_it_fit_is_calculated(reports):
    report = reports(12)
    assert not report['fits']
    source = load_config(SEVEN).to_dict()
    fitting = [edit for edit in report['edits'] if edit['fits']]
    assert ['strategy.zero_stage=3'] in [edit['options'] for edit in fitting]
    for edit in report['edits']:
        assert edit['fits'] == (edit['peak'] + report['reserve'] <= 12 * GIB)
    again = Estimator(8).estimate(edited(source, fitting[0]['options'])).memory.peak
    assert again == fitting[0]['peak'] < report['peak']
    text = '\n'.join(memory_text(report))
    assert 'does not fit into 12 GiB' in text
    assert '--cfg-options strategy.zero_stage=3 ' in text
    assert 'calculated (measurements of others: docs/gpu.md)' in text
    json.dumps(report)


def test_the_default_of_a_shared_prefix_is_calculated():
    """As the step runs: by default behind one prefix where the model can, which takes less than separate rows."""
    option = 'model.mllm.language_model.share_prefix='
    default, demanded, separate = (
        memory_report(load_config(NANO, options=options), gpus=1) for options in ([], [option + 'True'], [option + 'False'])
    )
    assert default == demanded
    assert default['assumed']['share_prefix'] and not separate['assumed']['share_prefix']
    assert default['activations'] < separate['activations']
    assert 'rows of an image behind one prefix' in memory_text(default)[0]
    assert 'prefix' not in memory_text(separate)[0]


def test_flex_attention_is_not_calculated():
    source = load_config(NANO, options=['model.mllm.language_model.attention=flex_attention'])
    with pytest.raises(MemoryUnknownError, match=r"'flex_attention' is not calculated. Check the config with 'sdpa'"):
        memory_report(source, gpus=1)


@pytest.mark.slow
def test_several_edits_where_none_is_enough_alone():
    source = load_config(SEVEN, options=['model.mllm.language_model.gradient_checkpointing=False'])
    report = memory_report(source, gpus=8, gpu_memory=9)
    alone = [edit for edit in report['edits'] if edit['fits'] and len(edit['options']) == 1]
    assert alone == []
    together = next(edit for edit in report['edits'] if edit['fits'])
    assert 'model.mllm.language_model.gradient_checkpointing=True' in together['options']
    assert 'strategy.zero_stage=3' in together['options']


@pytest.mark.slow
def test_nothing_helps_on_a_tiny_gpu():
    report = memory_report(load_config(SEVEN), gpus=1, gpu_memory=3)
    assert not report['fits']
    text = '\n'.join(memory_text(report))
    assert ('no edit known here' in text) == (not any(edit['fits'] for edit in report['edits']))


@pytest.mark.slow
def test_a_whole_model_whose_processor_is_absent():
    source = load_config(SEVEN, swaps=['mllm=qwen2_5_vl_7b', 'mask_decoder=sam2_hiera_l'])
    report = memory_report(source, gpus=8, gpu_memory=80)
    assert report['fits']
    assert report['assumed']['tokens_of_a_row'] == 256 + 256  # image_options allow 256 of the image
    # Qwen2.5-VL 7B has untied embeddings of 152,064 rows
    assert report['parameters_trained'] > 2 * 2 * 152064 * 3584


def test_rows_follow_from_the_data_sets_arguments():
    reason = dict(type='ReasonSegDataset', texts_per_image=2, others_per_image=5)
    assert rows_of_an_image(dict(dataset=reason)) == 7
    both = dict(
        type='MixtureDataset', datasets=dict(sem_seg=[dict(type='SemSegDataset', classes_per_image=9)], reason_seg=[reason])
    )
    assert rows_of_an_image(dict(dataset=both)) == 9
    assert rows_of_an_image(dict(dataset=dict(type='VQADataset'))) == 1


def test_check_config_with_gpus():
    report = check_config(NANO, options=['data_root=no_such_folder'], gpus=1, gpu_memory=24)
    assert report['memory']['fits']
    assert 'fits into 24 GiB' in report_text(report)
    assert 'memory' not in check_config(NANO, options=['data_root=no_such_folder'])
    without = check_config(NANO, options=['data_root=no_such_folder'], gpus=1)
    assert 'fits' not in without['memory']
    several = check_config(NANO, options=['data_root=no_such_folder'], gpus=7, gpu_memory=24)
    assert any('for one GPU, not 7' in fault for fault in several['faults'])


def test_ddp_on_two_gpus():
    """Every shipped overlay of a strategy has a memory; numbers by hand for whole copies."""
    options = ['data_root=no_such_folder']
    report = check_config(NANO, ['strategy=ddp'], options, gpus=2, gpu_memory=24)
    assert report['faults'] == []
    memory = report['memory']
    trained = sum(part['trained'] for part in report['parameters'].values())
    assert memory['parameters_trained'] == memory['buckets'] == 4 * trained  # the latter is a flat copy of the gradients
    assert memory['optimizer'] == 8 * trained
    assert memory['fits']


def test_a_strategy_that_does_not_say_its_memory_is_not_checked(monkeypatch):
    monkeypatch.setattr(LisaDDPStrategy, 'memory_plan', FolderCheckpointMixin.memory_plan)
    report = check_config(NANO, ['strategy=ddp'], ['data_root=no_such_folder'], gpus=2)
    assert report['faults'] == []
    assert 'memory' not in report
    assert any(what.startswith('memory: strategy.type is') for what in report['not_checked'])


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [
        (dict(gpus=0), '--gpus is 0'),
        (dict(gpus=-2, gpu_memory=24), '--gpus is -2'),
        (dict(gpus=8, gpu_memory=0), '--gpu-memory is 0'),
        (dict(gpus=8, gpu_memory=-1), '--gpu-memory is -1'),
        (dict(gpus=8, gpu_memory=float('nan')), '--gpu-memory is nan'),
        (dict(gpu_memory=24), 'give --gpus N too'),
    ],
)
def test_numbers_that_make_no_sense(numbers, message):
    with pytest.raises(ConfigError, match=message):
        check_config(NANO, **numbers)


@pytest.mark.slow
def test_thirteen_billion_takes_little_of_this_machine():
    """The command: resident memory of the process. Its seconds depend on the machine: 13 to 45 were seen for the same code."""
    command = [
        sys.executable,
        'tools/check_config.py',
        lisa_mm.get_config('lisa/lisa_13b_mix'),
        '--gpus',
        '8',
        '--gpu-memory',
        '24',
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'does not fit into 24 GiB' in done.stdout
    assert 'strategy.zero_stage=3' in done.stdout
    assert used.ru_maxrss * 1024 < 3e9
