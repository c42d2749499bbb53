"""A safetensors file of a checkpoint, compared with what was written and then read tensor by tensor."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..file_kinds import identify
from .sources import TensorInfo, read_header


class CheckedFile:
    """An open file; only the tensors that are read take memory.

    Args:
        path: The file.
        sha256: Hash of the file that was written; None leaves the comparison out.

    Raises:
        CheckpointError: if the file is missing, truncated, or not the file that was written.
    """

    def __init__(self, path: Path, sha256: str | None):
        self.path = path
        try:
            self._file = safe_open(path, framework='pt')
            self.info: dict[str, TensorInfo] = read_header(path)
        except (SafetensorError, OSError) as error:
            raise unreadable(path, error, 'it is damaged or incomplete. Use another checkpoint.') from error
        if sha256 is not None and file_sha256(path) != sha256:
            raise CheckpointError(
                f'{path} is not the file that was written: its sha256 differs from meta.json. Use another checkpoint.'
            )

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU; it may be a view of the file, so keep a copy, not the tensor itself."""
        return self._file.get_tensor(name)


def file_sha256(path: Path) -> str:
    """Hash of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def unreadable(path: Path, error: object, remedy: str) -> CheckpointError:
    """The error for a file of a checkpoint, which says what stands in its place."""
    kind = identify(path) if path.is_file() else None
    if kind is not None and kind.stand_in:
        return CheckpointError(f'{path} cannot be read (it {kind.says}): {remedy} {kind.remedy}')
    return CheckpointError(f'{path} cannot be read ({error}): {remedy}')
