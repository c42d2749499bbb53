"""Models whose parts were read from folders go into one folder, and answer without those folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import transformers
from mmengine.config import Config
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForImageTextToText

from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.loading import resolve
from lisa_mm.apis.testing import evaluate
from lisa_mm.apis.training import train
from lisa_mm.checkpoints.exporting import export_checkpoint, self_contained
from lisa_mm.checkpoints.recipe import HERE, HERE_TOKENIZER
from lisa_mm.config import load_config
from lisa_mm.errors import CheckpointError
from lisa_mm.models.architecture import architecture_of, written_architecture
from lisa_mm.models.backbones import CLIPVisionTower, HFVisionTower
from lisa_mm.models.mask_decoders import HFMaskDecoder

from ..models.families import MAKERS, MASK_DECODERS, whole_model

ROOT = Path(__file__).parents[2]
TOWER = dict(model_type='dinov2', hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8)


def mllm(folder: Path) -> dict:
    arguments = whole_model('qwen2_5_vl', folder)
    config = written_architecture(arguments['config'], 'mllm.config')
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return dict(type='HFMLLM', pretrained=str(folder))


def mask_decoder(folder: Path) -> dict:
    HFMaskDecoder(config=MASK_DECODERS['sam2']).model.save_pretrained(folder)
    return dict(type='HFMaskDecoder', pretrained=str(folder))


def vision_tower(folder: Path) -> dict:
    AutoModel.from_config(transformers.AutoConfig.for_model(**TOWER)).save_pretrained(folder)
    size = dict(size=dict(shortest_edge=40), crop_size=dict(height=32, width=32), do_center_crop=True)
    transformers.BitImageProcessorPil(**size, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]).save_pretrained(folder)
    return dict(type='HFVisionTower', pretrained=str(folder))


def with_data(folder: Path, demo: Path) -> tuple[Config, Path]:
    config, checkpoint = resolve(folder)
    return load_config(config, (), [f'data_root={demo}', 'test_dataloader.num_workers=0']), checkpoint


@pytest.mark.slow
@pytest.mark.parametrize('part', [mllm, mask_decoder, vision_tower])
def test_a_trained_model_is_one_folder(part, demo, tmp_path):
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    name = part.__name__
    torch.manual_seed(0)
    overlay = f'{name} = {part(tmp_path / "read")!r}\n'
    (tmp_path / 'configs' / '_base_' / f'{name}s' / 'from_folder.py').write_text(overlay)
    options = [f'data_root={demo}', 'train_cfg.max_iters=2', 'train_dataloader.batch_size=2', 'val_dataloader=None']
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    leaf = tmp_path / 'configs' / 'lisa' / 'lisa_nano.py'
    work = train(leaf, work_dir=tmp_path / 'work', swaps=[f'{name}=from_folder'], options=options, launcher='none')
    image = next((demo / 'reason_seg' / 'ReasonSeg' / 'test').glob('*.jpg'))
    question = 'the ball'
    wanted = LISAInferencer(work)(image, question, max_new_tokens=8)
    before = evaluate(*with_data(work, demo))
    export_checkpoint(work, tmp_path / 'out', layout='folder')
    shutil.rmtree(tmp_path / 'read')
    shutil.rmtree(work)
    shutil.move(tmp_path / 'out', tmp_path / 'elsewhere')
    assert str(tmp_path / 'read') not in (tmp_path / 'elsewhere' / 'config.py').read_text()
    given = LISAInferencer(tmp_path / 'elsewhere')(image, question, max_new_tokens=8)
    assert given.text == wanted.text
    assert_close(given.mask_logits, wanted.mask_logits, atol=1e-3, rtol=1e-3)
    score = evaluate(*with_data(tmp_path / 'elsewhere', demo))  # an answer of two steps may have no [SEG]; the test split has
    assert score['n'] == before['n'] > 0
    assert [score[key] for key in ('gIoU', 'cIoU')] == pytest.approx([before[key] for key in ('gIoU', 'cIoU')], abs=1e-3)


@pytest.mark.parametrize('family', MAKERS)
def test_architectures_of_whole_models_are_written_and_read(family, tmp_path):
    config = written_architecture(whole_model(family, tmp_path)['config'], 'mllm.config')
    config.text_config.never_read = 7  # folders hold such keys; a config of ours must not
    written = architecture_of(config)
    assert 'never_read' not in str(written)
    again = written_architecture(written, 'mllm.config')
    del config.text_config.never_read
    assert again.to_diff_dict() == config.to_diff_dict()


def test_images_are_treated_as_the_folder_said(tmp_path):
    tower = HFVisionTower(**{key: value for key, value in vision_tower(tmp_path).items() if key != 'type'})
    arguments = tower.without_files(HERE_TOKENIZER)
    assert arguments['processing'] == dict(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), margin=1.25, side=32)
    assert HFVisionTower(**arguments).preprocess == tower.preprocess
    clip = CLIPVisionTower(config=dict(TOWER, model_type='clip_vision_model', intermediate_size=48))
    assert 'processing' not in clip.without_files(HERE_TOKENIZER)


def test_a_part_that_says_nothing_is_not_exported(tmp_path):
    class Foreign(torch.nn.Module):
        def without_files(self, tokenizer):
            return None

    part = dict(type='Foreign', pretrained=str(tmp_path))
    model = torch.nn.Module()
    model.mllm, model.seg_head, model.mask_decoder = Foreign(), Foreign(), Foreign()
    config = dict(model=dict(mllm=dict(type='Foreign'), seg_head=dict(type='Foreign'), mask_decoder=part))
    with pytest.raises(CheckpointError, match=r'model.mask_decoder: Foreign takes its architecture.*Foreign.without_files'):
        self_contained(config, model)
    part['pretrained'] = 'weights.safetensors'
    assert self_contained(config, model)['load_from'] == HERE
