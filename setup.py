"""What pyproject.toml cannot say: a requirement that depends on what is installed, and a package that lies elsewhere."""

from importlib import metadata

from setuptools import find_packages, setup


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
    # configs/ stands beside the package in a checkout and inside it once installed
    packages=find_packages(include=['lisa_mm', 'lisa_mm.*']) + ['lisa_mm.configs'],
    package_dir={'lisa_mm.configs': 'configs'},
    package_data={
        'lisa_mm': [
            'py.typed',
            'weights/**/*',
            'datasets/classes/*.txt',
            'demo/*.html',
            'demo/*.css',
            'demo/*.js',
            'reporting/*.css',
            'reporting/*.json',
        ],
        'lisa_mm.configs': ['**/*.py'],
    },
    # all of them, as setuptools takes the dependencies from one file: pyproject.toml has them as dynamic
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
        'scipy>=1.11',
        'opencv-python>=4.8',
        'matplotlib>=3.8',
        'tensorboard>=2.16',
        'tqdm>=4.66',
        'typing_extensions>=4.6',
        'pydantic>=2.12',
        'charset-normalizer>=3',
        'rich>=13',
    ],
    zip_safe=False,
)
