"""What a file is, from its first bytes."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lisa_mm.errors import CheckpointError
from lisa_mm.file_kinds import check_present, check_weights, identify, read_json

POINTER = (Path(__file__).parent / 'field' / 'lfs_pointer' / 'sam_vit_h_4b8939.pth').read_bytes()


def in_zip(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def in_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('model.pth'), io.BytesIO())
    return buffer.getvalue()


def saved(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


PICTURE = Image.new('RGB', (4, 4))
OTHERS = {
    'git-lfs pointer': (POINTER, r'git-lfs pointer.* of 9,876,543,210 bytes.*git lfs pull'),
    'git-annex pointer': (b'/annex/objects/SHA256E-s9--aa.pth\n', 'git annex get'),
    'page': (b'\n<!DOCTYPE html><html><title> Sign\nin </title>', r"html or xml page \('Sign in'\)"),
    'page of a bucket': (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', 'html or xml page'),
    'error message': (b'{"error": "Repository not found"}', "error message of a server: 'Repository not found'"),
    'nested message': (b'{"error": {"code": 403}}', r'error message of a server: .*403'),
    'text': (b'Entry not found', "text that begins with 'Entry not found'"),
    'json': (b'{"weight_map": {}}', 'JSON text'),
    'empty': (b'', 'empty file'),
    'zeros': (bytes(5000), 'begins with zeros'),
    'noise': (b'\x97\x01' * 40, 'first bytes are 97 01'),
    'gzip': (gzip.compress(b'weights'), 'gzip archive'),
    'zip': (in_zip(**{'a/readme.txt': b'x', 'b.pth': b'y'}), "zip archive of 2 files, the first 'a/readme.txt'"),
    'empty zip': (in_zip(), 'zip archive of 0 files'),
    'tar': (in_tar(), 'tar archive'),
    'plain pickle': (pickle.dumps({'a': np.zeros(2)}), 'torch.save did not write'),
    'npy': (saved(lambda file: np.save(file, np.zeros(3))), 'numpy array'),
    'npz': (saved(lambda file: np.savez(file, a=np.zeros(3), b=np.zeros(2))), 'npz'),
    'gguf': (b'GGUF\x03\0\0\0' + bytes(40), 'GGUF'),
    'hdf5': (b'\x89HDF\r\n\x1a\n' + bytes(20), 'TensorFlow'),
    'onnx': (b'\x08\x08\x12\x07pytorch\x1a\x031.9', 'ONNX'),
    'png': (saved(lambda file: PICTURE.save(file, 'PNG')), 'png picture'),
    'jpeg': (saved(lambda file: PICTURE.save(file, 'JPEG')), 'jpeg picture'),
    'TorchScript': (in_zip(**{'m/data.pkl': b'', 'm/constants.pkl': b'', 'm/code/a.py': b''}), 'TorchScript'),
}


@pytest.mark.parametrize('name', OTHERS)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.bin'])
def test_what_holds_no_weights_is_named(tmp_path, name, suffix):
    content, words = OTHERS[name]
    path = tmp_path / f'weights{suffix}'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f'(?s)weights{suffix} .*{words}') as raised:
        check_weights(path)
    assert 'weights_only' not in str(raised.value)


@pytest.mark.parametrize('cut', [1, 5, 9, 60, -4])
def test_a_cut_safetensors_file_says_both_numbers(tmp_path, cut):
    save_file({'a': torch.zeros(8)}, tmp_path / 'whole.safetensors')
    whole = (tmp_path / 'whole.safetensors').read_bytes()
    assert identify(tmp_path / 'whole.safetensors').name == 'safetensors'
    path = tmp_path / 'cut.safetensors'
    path.write_bytes(whole[:cut])
    with pytest.raises(CheckpointError, match='cut off') as raised:
        check_weights(path)
    assert str(path.stat().st_size) in str(raised.value)
    if cut == -4:
        assert f'tells of {len(whole)} bytes' in str(raised.value)


def test_bytes_behind_a_safetensors_file(tmp_path):
    save_file({'a': torch.zeros(8)}, tmp_path / 'long.safetensors')
    with (tmp_path / 'long.safetensors').open('ab') as file:
        file.write(b'more')
    with pytest.raises(CheckpointError, match='damaged: its header tells of'):
        check_weights(tmp_path / 'long.safetensors')


def test_a_cut_torch_file(tmp_path):
    torch.save({'a': torch.zeros(400)}, tmp_path / 'a.pth')
    assert identify(tmp_path / 'a.pth').name == 'torch'
    (tmp_path / 'a.pth').write_bytes((tmp_path / 'a.pth').read_bytes()[:900])
    with pytest.raises(CheckpointError, match=r'cut off.*900 bytes'):
        check_weights(tmp_path / 'a.pth')
    torch.save({'a': torch.zeros(4)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert identify(tmp_path / 'old.pth').name == 'old torch'


@pytest.mark.parametrize('name', ['a.pth.part', 'a.pth.crdownload', 'a.safetensors.incomplete'])
def test_an_unfinished_download_by_its_name(tmp_path, name):
    torch.save({'a': torch.zeros(4)}, tmp_path / name)
    with pytest.raises(CheckpointError, match='unfinished download'):
        check_weights(tmp_path / name)


def test_an_unfinished_download_by_the_file_beside_it(tmp_path):
    """aria2 reserves the whole size at once, so that the file alone looks complete."""
    torch.save({'a': torch.zeros(4)}, tmp_path / 'a.pth')
    check_weights(tmp_path / 'a.pth')
    (tmp_path / 'a.pth.aria2').write_bytes(b'\0\1')
    with pytest.raises(CheckpointError, match=r'unfinished download \(a\.pth\.aria2 lies beside it'):
        check_weights(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'content',
    [
        b'<s>{% for message in messages %}',  # a chat template
        b'{"message": 32000, "error": 32001}',  # tokens
        b'{"model_type": "llama", "error": "x"}',
        b'#version: 0.2\n',
        b'\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02',  # sentencepiece
    ],
)
def test_files_beside_weights_that_look_odd_are_left_alone(tmp_path, content):
    (tmp_path / 'file').write_bytes(content)
    check_present([tmp_path / 'file', tmp_path / 'absent'])


def test_json(tmp_path):
    path = tmp_path / 'config.json'
    with pytest.raises(CheckpointError, match='cannot be read'):
        read_json(path)
    path.write_text('{"a": 1, "a": 1, "b": {"c": 2}}')
    assert read_json(path) == {'a': 1, 'b': {'c': 2}}
    path.write_text('{"b": {"c": "one", "c": "two"}}')
    with pytest.raises(CheckpointError, match=r"config\.json: 'c' is there twice, as 'one' and as 'two'"):
        read_json(path)
    path.write_bytes(POINTER)
    with pytest.raises(CheckpointError, match='git lfs pull'):
        read_json(path)
    path.write_text(json.dumps([1]))
    with pytest.raises(CheckpointError, match='found a list'):
        read_json(path)
