"""Packaging of lisa_mm: the package, its configs and the nano weights."""

from importlib import metadata
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def mmcv_requirement() -> str:
    """Full mmcv and mmcv-lite own the same folder: keep an installed mmcv, else take mmcv-lite.

    Only ``pip install --no-build-isolation`` lets this file see what is installed already.
    """
    try:
        metadata.version('mmcv')
    except metadata.PackageNotFoundError:
        return 'mmcv-lite>=2.1,<2.3'
    return 'mmcv>=2.1,<2.3'


setup(
    name='lisa_mm',
    version='0.1.0',
    description='Reasoning segmentation (LISA) from registered, swappable parts, in the style of MMEngine',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8') if (HERE / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['lisa_mm', 'lisa_mm.*']) + ['lisa_mm.configs'],
    package_dir={'lisa_mm.configs': 'configs'},
    package_data={
        'lisa_mm': ['py.typed', 'weights/**/*', 'datasets/classes/*.txt'],
        'lisa_mm.configs': ['**/*.py'],
    },
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'mmengine>=0.10.7,<0.11',
        mmcv_requirement(),
        'deepspeed>=0.16',
        'transformers>=5.17,<6',
        'peft>=0.18',
        'segment-anything>=1.0',
        'pycocotools>=2.0.7',
        'sentencepiece>=0.2',
        'protobuf',
        'safetensors>=0.4',
        'pillow>=10',
        'numpy',
        'opencv-python>=4.8',
        'matplotlib>=3.8',
        'tensorboard>=2.16',
        'tqdm>=4.66',
        'typing_extensions>=4.6',
    ],
    extras_require={
        'edgetam': ['timm>=1.0'],
        'gguf': ['gguf>=0.10'],
        'emoji': ['emoji>=2.10'],
        'dev': [
            'pytest>=8',
            'pytest-timeout>=2.3',
            'pytest-xdist>=3.6',
            'ruff==0.17.6',
            'pyright==1.1.414',
            'import-linter==2.17',
            'pre-commit>=4',
            'setuptools>=70.1',  # tests build the wheel with what is installed
            'torchmetrics>=1.4',
        ],
    },
    zip_safe=False,
)
