"""What a file is, from its first bytes: an error can name a git-lfs pointer or a login page instead of a damaged file."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CheckpointError

# Files that transformers reads beside the weights
TOKENIZER_FILES = (
    'tokenizer.model',
    'tokenizer.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'added_tokens.json',
    'chat_template.jinja',
    'vocab.json',
    'merges.txt',
    'chat_template.json',
    # files of a whole multimodal model
    'processor_config.json',
    'preprocessor_config.json',
    'video_preprocessor_config.json',
)
SAFETENSORS, TORCH, OLD_TORCH, CUT = 'safetensors', 'torch', 'old torch', 'cut'
UNFINISHED = ('.part', '.partial', '.aria2', '.crdownload', '.download', '.incomplete', '.tmp')
_AGAIN = 'Download or copy it again.'
_CONVERT = 'Convert it to safetensors with the program that wrote it.'
_EXTRACT = 'Extract it, and name the file of weights inside.'
_PAGE = 'Open its address in a browser, log in or accept the terms there, and download the file itself.'
_ANNEX = 'Run `git annex get` on it.'
_HEAD = 4096  # bytes to look at
_OLD_MAGIC = b'\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.'  # torch.save before 1.6
_PAGE_STARTS = (
    '<!doctype',
    '<html',
    '<?xml',
    '<head',
    '<body',
    '<!--',
    '<error',
    '<script',
    '<meta',
)  # a chat template begins with <s>
_HEADER_LIMIT = 100_000_000  # of safetensors
_SHOWN = 80


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Args:
        name: 'safetensors', 'torch' and 'old torch' can hold weights; others name what was found.
        says: Goes on after the file's name: "is an empty file".
        remedy: A sentence.
        stand_in: It stands in place of a file: what an unfinished or refused download leaves.
    """

    name: str
    says: str
    remedy: str = _AGAIN
    stand_in: bool = False


# First bytes, name, what it is, remedy
_MAGIC = (
    (b'\x1f\x8b', 'gzip', 'is a gzip archive', _EXTRACT),
    (b'BZh', 'bzip2', 'is a bzip2 archive', _EXTRACT),
    (b'\xfd7zXZ\0', 'xz', 'is an xz archive', _EXTRACT),
    (b'\x28\xb5\x2f\xfd', 'zstd', 'is a zstd archive', _EXTRACT),
    (b'7z\xbc\xaf\x27\x1c', '7z', 'is a 7z archive', _EXTRACT),
    (b'Rar!', 'rar', 'is a rar archive', _EXTRACT),
    (
        b'GGUF',
        'gguf',
        'is a GGUF file (llama.cpp), whose weights are quantised',
        'Give the Hugging Face folder it was made from.',
    ),
    (b'\x93NUMPY', 'numpy', 'is a numpy array', 'Save it with its name as safetensors (safetensors.numpy.save_file).'),
    (b'\x89HDF\r\n\x1a\n', 'hdf5', 'is an HDF5 file, as TensorFlow and Keras write weights', _CONVERT),
    (b'\x89PNG', 'picture', 'is a png picture', 'Give the file of weights.'),
    (b'\xff\xd8\xff', 'picture', 'is a jpeg picture', 'Give the file of weights.'),
    (b'%PDF', 'pdf', 'is a PDF document', 'Give the file of weights.'),
)


def identify(path: str | Path) -> FileKind:
    """Say what a file is; reads its first bytes, a safetensors header, or a zip archive's table of contents."""
    path = Path(path)
    if path.is_dir():
        return FileKind('folder', 'is a folder', 'Give a file in it.')
    beside = path.with_name(path.name + '.aria2')
    if path.suffix in UNFINISHED or beside.is_file():
        why = f'{beside.name} lies beside it' if beside.is_file() else f'its name ends in {path.suffix}'
        return FileKind('unfinished', f'is an unfinished download ({why})', 'Let the download end, or start it again.', True)
    size = path.stat().st_size
    if not size:
        return FileKind('empty', 'is an empty file', stand_in=True)
    if path.suffix == '.safetensors' and size < 9:
        return FileKind(CUT, f'is cut off after {size} bytes')
    with path.open('rb') as file:
        head = file.read(_HEAD)
    if not any(head):
        return FileKind('zeros', 'begins with zeros, as a download that has reserved its place and not ended', stand_in=True)
    for found in (_pointer, _text):
        kind = found(head)
        if kind is not None:
            return kind
    if head.startswith(b'PK\x03\x04') or head.startswith(b'PK\x05\x06'):
        return _archive(path, size)
    if head[8:9] == b'{' and int.from_bytes(head[:8], 'little') <= _HEADER_LIMIT:
        return _safetensors(path, size)
    if head.startswith(_OLD_MAGIC):
        return FileKind(OLD_TORCH, 'is a torch file from before torch 1.6')
    if head[257:262] == b'ustar':
        return FileKind('tar', 'is a tar archive', _EXTRACT)
    if len(head) > 1 and head[0] == 0x80 and head[1] in (2, 3, 4, 5):
        return FileKind(
            'pickle',
            'is a pickle of Python objects that torch.save did not write; reading it could run code',
            'Where it was made, save the weights as safetensors.',
        )
    for magic, name, says, remedy in _MAGIC:
        if head.startswith(magic):
            return FileKind(name, says, remedy)
    if path.suffix == '.onnx' or (len(head) > 2 and head[0] == 8 and head[1] < 32 and head[2] in (0x12, 0x3A)):
        return FileKind('onnx', 'is an ONNX graph', 'Give the weights of the torch model it was made from.')
    shown = head[:8].hex(' ')
    return FileKind('unknown', f'is damaged or of another format (its first bytes are {shown})')


def check_weights(path: str | Path) -> FileKind:
    """The kind of a file of weights.

    Raises:
        CheckpointError: saying what the file is, if it holds none.
    """
    kind = identify(path)
    if kind.name not in (SAFETENSORS, TORCH, OLD_TORCH):
        wanted = '' if kind.stand_in or kind.name == CUT else '; weights are safetensors or what torch.save writes'
        raise CheckpointError(f'{path} {kind.says}{wanted}. {kind.remedy}')
    return kind


def check_present(files: Iterable[Path]) -> None:
    """Check that none of the files that exist is what an unfinished or refused download leaves.

    Raises:
        CheckpointError: naming the first one that is.
    """
    for file in files:
        if file.is_file():
            kind = identify(file)
            if kind.stand_in:
                raise CheckpointError(f'{file} {kind.says}. {kind.remedy}')


def library_words(error: Exception) -> str:
    """The first line of a library's error about a folder; never transformers' advice to run the code that lies in it."""
    if 'trust_remote_code' in str(error) or 'custom code' in str(error):
        return 'it brings program code of its own, which is never run here: take a folder of a model that transformers has'
    return (str(error).splitlines() or [''])[0] or type(error).__name__


def check_tokenizer_files(folder: Path) -> None:
    """:func:`check_present` for a folder's config, tokenizer and processor."""
    check_present(folder / name for name in ('config.json', *TOKENIZER_FILES))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Raises:
        CheckpointError: if it is missing, a stand-in, not a JSON object, or names a key twice with different values.
    """
    check_present([path])
    try:
        value = json.loads(path.read_text(encoding='utf-8'), object_pairs_hook=_once(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path} cannot be read ({error}). The folder is incomplete: download it again.') from error
    if not isinstance(value, dict):
        raise CheckpointError(f'{path}: expected a JSON object, found a {type(value).__name__}. Download it again.')
    return value


def _once(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in pairs:
            if key in built and built[key] != value:
                raise CheckpointError(f'{path}: {key!r} is there twice, as {built[key]!r} and as {value!r}. Keep the right one.')
            built[key] = value
        return built

    return build


def _pointer(head: bytes) -> FileKind | None:
    if head.startswith(b'version https://git-lfs.github.com/spec/'):
        found = re.search(rb'^size (\d+)$', head, re.MULTILINE)
        size = f' of {int(found[1]):,} bytes' if found else ''
        remedy = 'Install git-lfs and run `git lfs pull` in its repository, or download the file itself.'
        return FileKind('git-lfs pointer', f'is a git-lfs pointer, a short text in place of the file{size}', remedy, True)
    if head.startswith((b'/annex/objects/', b'../.git/annex/objects/', b'.git/annex/objects/')):
        return FileKind('git-annex pointer', 'is a git-annex pointer, a short text in place of the file', _ANNEX, True)
    return None


def _text(head: bytes) -> FileKind | None:
    """A page, an error message, or another text; None for bytes that are no text."""
    try:
        text = head.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not only the last character cut
            return None
        text = head[: error.start].decode('utf-8-sig')
    if any(ord(letter) < 32 and letter not in '\t\n\r\f' for letter in text):
        return None
    text = text.strip()
    if text[:9].lower().startswith(_PAGE_STARTS):
        title = re.search(r'<title[^>]*>\s*(.*?)\s*</title>', text, re.IGNORECASE | re.DOTALL)
        said = f' ({" ".join(title[1].split())[:_SHOWN]!r})' if title else ''
        return FileKind('page', f'is an html or xml page{said}, as a server sends in place of a file', _PAGE, True)
    if text.startswith('{'):
        message = _error_message(text)
        if message:
            return FileKind('error', f'is an error message of a server: {message[:_SHOWN]!r}', _PAGE, True)
        return FileKind('json', 'is a JSON text')
    return FileKind('text', f'is a text that begins with {" ".join(text.split())[:_SHOWN]!r}')


def _error_message(text: str) -> str | None:
    """What a server's JSON says went wrong; None for another JSON."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict) or len(content) > 6 or 'model_type' in content:
        return None
    said = next((content[key] for key in ('error', 'message', 'detail', 'Message') if key in content), None)
    if isinstance(said, dict):
        said = json.dumps(said)
    return said if isinstance(said, str) else None  # a token may have one of these names, and a number


def _archive(path: Path, size: int) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        says = f'is cut off: it begins as a zip archive (so do files of torch) and ends after {size:,} bytes without its end'
        return FileKind(CUT, f'{says} ({error})')
    held = {name.partition('/')[2] or name for name in names}
    if 'constants.pkl' in held or any(name.startswith('code/') for name in held):
        return FileKind('program', 'is a TorchScript program', 'Where it was made, save the state dict of its model.')
    if 'data.pkl' in held:
        return FileKind(TORCH, 'is a torch file')
    if names and all(name.endswith('.npy') for name in names):
        return FileKind('npz', 'is a numpy archive (npz)', 'Save its arrays as safetensors (safetensors.numpy.save_file).')
    first = f', the first {names[0]!r}' if names else ''
    return FileKind('zip', f'is a zip archive of {len(names)} files{first}, not one of torch', _EXTRACT)


def _safetensors(path: Path, size: int) -> FileKind:
    with path.open('rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if 8 + length > size:
            says = f'is cut off: its header alone takes {8 + length:,} bytes, the file has {size:,}'
            return FileKind(CUT, says)
        try:
            header = json.loads(file.read(length))
            ends = [entry['data_offsets'][1] for name, entry in header.items() if name != '__metadata__']
            total = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return FileKind('unknown', 'is a damaged safetensors file (its header is unreadable)')
    if total > size:
        says = f'is damaged, cut off: its header tells of {total:,} bytes, the file has {size:,}'
        return FileKind(CUT, says)
    if total < size:
        return FileKind('unknown', f'is damaged: its header tells of {total:,} bytes, the file has {size:,}')
    return FileKind(SAFETENSORS, 'is a safetensors file')
