"""What of the model is trained: which settings go together."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .lora import split_lora
from .new_rows import NEW_ROWS


def check_tuning(lora: dict[str, Any] | None, tuning: str | None, train_embeddings: bool | str) -> None:
    """Compare ``model.lora``, ``model.tuning`` and ``model.train_embeddings``.

    Raises:
        ConfigError: naming every setting at fault.
    """
    faults = []
    if split_lora(lora)[0] and tuning is not None:
        faults.append(f'model.tuning is {tuning!r} but model.lora is given too: set one of them, tuning for lora=None only.')
    if tuning not in (None, 'full', 'frozen'):
        faults.append(f"model.tuning is {tuning!r}; allowed: 'full', 'frozen' (with lora=None).")
    if not isinstance(train_embeddings, bool) and train_embeddings != NEW_ROWS:
        faults.append(f'model.train_embeddings is {train_embeddings!r}; allowed: True, False, {NEW_ROWS!r}.')
    if faults:
        raise ConfigError(faults)
