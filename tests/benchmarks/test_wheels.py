"""Which wheels a target lacks, and bitsandbytes' wheel with one CUDA library."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

FOLDER = Path(__file__).parents[2] / 'benchmarks' / 'gpu'
_spec = importlib.util.spec_from_file_location('gpu_wheels', FOLDER / 'wheels.py')
assert _spec is not None and _spec.loader is not None
wheels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wheels)


def write_wheel(folder, name, version='1.0', tag='py3-none-any', requires=(), files=()):
    """A wheel that has what is read of one."""
    info = f'{name}-{version}.dist-info'
    metadata = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
    metadata += ''.join(f'Requires-Dist: {requirement}\n' for requirement in requires)
    path = folder / f'{name}-{version}-{tag}.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        for file, content in files:
            archive.writestr(file, content)
        archive.writestr(f'{info}/METADATA', metadata)
        archive.writestr(f'{info}/WHEEL', f'Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n\n')
        archive.writestr(f'{info}/RECORD', '')
    return path


def walk(folder, requirements, target, pins, python='3.12'):
    target = {name: Version(version) if version else None for name, version in target.items()}
    pins = {name: Version(version) for name, version in pins.items()}
    carried, missing = wheels.walk(requirements, target, pins, wheels.fitting_wheels(folder, python), python)
    return [path.name for path in carried], missing


def test_nothing_is_carried_that_the_target_has(tmp_path):
    assert walk(
        tmp_path,
        ['torch>=2.4', 'numpy', 'opencv-python>=4'],
        {'torch': '2.11.0', 'numpy': None, 'opencv-python-headless': None},
        {},
    ) == ([], [])


def test_what_a_wheel_needs_is_known_once_it_is_there(tmp_path):
    target, pins = {'numpy': None}, {'a': '1.0', 'b-c': '1.0'}
    assert walk(tmp_path, ['a>=1'], target, pins) == ([], ['a==1.0'])
    write_wheel(
        tmp_path,
        'a',
        requires=['B_c>=0.5', 'numpy', 'd; extra == "all"', 'e; python_version < "3.12"', 'f; sys_platform == "win32"'],
    )
    assert walk(tmp_path, ['a>=1'], target, pins) == (['a-1.0-py3-none-any.whl'], ['b-c==1.0'])
    write_wheel(tmp_path, 'b_c', requires=['a'])  # a cycle
    assert walk(tmp_path, ['a>=1'], target, pins) == (['a-1.0-py3-none-any.whl', 'b_c-1.0-py3-none-any.whl'], [])


def test_extras_are_followed(tmp_path):
    write_wheel(tmp_path, 'a', requires=['b; extra == "more"'])
    assert walk(tmp_path, ['a', 'a[more]'], {}, {'a': '1.0', 'b': '2'}) == (['a-1.0-py3-none-any.whl'], ['b==2'])
    assert walk(tmp_path, ['a'], {}, {'a': '1.0'}) == (['a-1.0-py3-none-any.whl'], [])


def test_all_that_is_not_met_is_one_error(tmp_path):
    write_wheel(tmp_path, 'a', requires=['b>=3', 'torch>=2.12'])
    with pytest.raises(ValueError) as raised:
        walk(tmp_path, ['a'], {'torch': '2.11.0'}, {'a': '1.0', 'b': '2'})
    assert 'a asks for b>=3: the target has none, pinned is 2' in str(raised.value)
    assert 'a asks for torch>=2.12: the target has 2.11.0, pinned is none' in str(raised.value)


@pytest.mark.parametrize(
    ('python', 'tag', 'fits'),
    [
        ('3.12', 'cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64', True),
        ('3.11', 'cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64', False),
        ('3.12', 'cp311-abi3-manylinux_2_28_x86_64', True),
        ('3.12', 'cp312-cp312-manylinux_2_39_x86_64', False),
        ('3.12', 'cp312-cp312-macosx_11_0_arm64', False),
        ('3.11', 'py2.py3-none-any', True),
    ],
)
def test_wheels_of_another_python_or_platform_are_missing(tmp_path, python, tag, fits):
    path = write_wheel(tmp_path, 'a', tag=tag)
    assert walk(tmp_path, ['a'], {}, {'a': '1.0'}, python) == (([path.name], []) if fits else ([], ['a==1.0']))


def test_lists_of_packages(tmp_path):
    file = tmp_path / 'packages.txt'
    file.write_text('# what there is\n\nPy_YAML\ntorch==2.11.0  # CUDA 13\n')
    assert wheels.read_packages(file) == {'py-yaml': None, 'torch': Version('2.11.0')}
    file.write_text('a\ntorch>=2\n')
    with pytest.raises(ValueError, match=r"line 2: 'torch>=2' is not NAME or NAME==VERSION"):
        wheels.read_packages(file)


def test_what_setup_asks_for_is_there_or_pinned(tmp_path):
    """With nothing downloaded, the first round: no requirement of setup.py is forgotten in the two lists."""
    requirements = wheels.project_requirements(FOLDER.parents[1] / 'setup.py')
    target, pins = wheels.read_packages(wheels.TARGET), wheels.read_packages(wheels.PINS)
    names = {line.split('==')[0] for line in wheels.walk([*requirements, *wheels.MORE], target, pins, {}, '3.12')[1]}
    assert {'deepspeed', 'mmengine', 'pycocotools', 'segment-anything', 'bitsandbytes'} <= names
    assert not names & set(target)


def test_one_cuda_library_is_left(tmp_path):
    libraries = [f'libbitsandbytes_{kind}' for kind in ('cpu.so', 'cuda118.so', 'cuda130.so', 'rocm70.so', 'xpu2025.so')]
    files = [('bitsandbytes/__init__.py', 'x = 1\n'), *((f'bitsandbytes/{name}', name * 50) for name in libraries)]
    tag = 'py3-none-manylinux_2_24_x86_64'
    wheel = write_wheel(tmp_path, 'bitsandbytes', '0.50.2', tag, files=files)
    (tmp_path / 'out').mkdir()
    copy = wheels.slim(wheel, tmp_path / 'out', '130')
    assert copy.name == f'bitsandbytes-0.50.2-1cuda130-{tag}.whl'
    with zipfile.ZipFile(copy) as archive:
        names = set(archive.namelist())
        assert {name for name in names if name.endswith('.so')} == {
            'bitsandbytes/libbitsandbytes_cpu.so',
            'bitsandbytes/libbitsandbytes_cuda130.so',
        }
        assert 'Build: 1cuda130\nTag: ' in archive.read('bitsandbytes-0.50.2.dist-info/WHEEL').decode()
        record = 'bitsandbytes-0.50.2.dist-info/RECORD'
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
        assert {row[0] for row in rows} == names and len(rows) == len(names)
        for name, digest, size in rows:
            content = archive.read(name)
            wanted = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')
            assert (digest, size) == (('', '') if name == record else (f'sha256={wanted}', str(len(content))))
    pins = {'bitsandbytes': '0.50.2'}
    assert walk(tmp_path / 'out', ['bitsandbytes'], {}, pins) == ([copy.name], [])
    with pytest.raises(ValueError, match=r'has no libbitsandbytes_cuda140\.so\. It has: .*cuda118'):
        wheels.slim(wheel, tmp_path / 'out', '140')


def test_report_adds_up_and_refuses(tmp_path):
    paths = [tmp_path / name for name in ('a-1-py3-none-any.whl', 'b-1-py3-none-any.whl')]
    for path in paths:
        path.write_bytes(bytes(wheels.MIB // 2))
    assert '1.00 MiB  2 wheels in' in wheels.report(tmp_path, paths, 1)
    with pytest.raises(ValueError, match=r'1\.00 MiB are more than the 0\.5 MiB'):
        wheels.report(tmp_path, paths, 0.5)
    with pytest.raises(ValueError, match=r'not of this set: b-1-py3-none-any\.whl'):
        wheels.report(tmp_path, paths[:1], 1)
