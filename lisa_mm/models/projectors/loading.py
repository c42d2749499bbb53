"""Load a projector's weights from a file of its own or from a published LLaVA or LISA folder."""

from __future__ import annotations

from pathlib import Path

from ...errors import CheckpointError
from ..base import BaseProjector
from ..weights import load_part, load_strictly

PUBLISHED = 'model.mm_projector.'  # LLaVA's name for it


def load_projector(projector: BaseProjector, pretrained: str | None, own_prefix: str) -> None:
    """Load ``pretrained`` strictly if it is given.

    Args:
        projector: Receives the weights.
        pretrained: A safetensors or torch file with the projector alone, or a sharded LLaVA or LISA folder, of which
            only the projector's tensors are read.
        own_prefix: The name here for LLaVA's prefix ``model.mm_projector.``.

    Raises:
        CheckpointError: if the folder holds no projector, or one of another kind.
    """
    if pretrained is None or not Path(pretrained).is_dir():
        load_part(projector, pretrained)
        return
    from ...checkpoints.sources import WeightFiles  # it uses this package's own reader

    files = WeightFiles(pretrained)
    names = [name for name in files.info if name.startswith(PUBLISHED)]
    if not names:
        raise CheckpointError(f'projector.pretrained: {pretrained} holds no {PUBLISHED}*. Give a LLaVA folder or a file.')
    state = {own_prefix + name.removeprefix(PUBLISHED): files.read(name) for name in names}
    files.close()
    load_strictly(projector, state, str(pretrained))
    projector.from_file = True
