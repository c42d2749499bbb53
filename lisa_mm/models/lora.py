"""LoRA and what of the language model is trained beside it."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from ..errors import ConfigError, nearest
from .base import BaseMLLM


def language_decoder(mllm: BaseMLLM) -> nn.Module:
    """The layers of the language model inside a multimodal LLM: without head, vision tower and projector."""
    return mllm.causal_lm.get_decoder()  # type: ignore[operator]


def apply_lora(mllm: BaseMLLM, lora: dict[str, Any]) -> list[str]:
    """Put adapters into the language model only.

    Args:
        mllm: Gets the adapters, in place.
        lora: Arguments of ``peft.LoraConfig``: ``r``, ``lora_alpha``, ``lora_dropout``, ``target_modules``, ...

    Returns:
        The full names of the adapted modules.

    Raises:
        ConfigError: for an unknown argument, or targets that match nothing.
    """
    fields = set(LoraConfig.__dataclass_fields__)
    unknown = [key for key in lora if key not in fields]
    if unknown:
        raise ConfigError([f'model.lora has no {key!r}.{nearest(key, fields)}' for key in unknown])
    if not lora.get('target_modules'):
        raise ConfigError("model.lora.target_modules is missing, e.g. ['q_proj', 'v_proj'].")
    decoder = language_decoder(mllm)
    linear = {name.rsplit('.', 1)[-1] for name, module in decoder.named_modules() if isinstance(module, nn.Linear)}
    targets = lora['target_modules']
    unmatched = [name for name in targets if name.rsplit('.', 1)[-1] not in linear] if isinstance(targets, (list, tuple)) else []
    if unmatched:
        raise ConfigError(
            [
                f'model.lora.target_modules: {name!r} matches no layer of the language model.{nearest(name, linear)}'
                for name in unmatched
            ]
        )
    config = LoraConfig(**{**lora, 'target_modules': list(targets) if isinstance(targets, tuple) else targets})
    try:
        inject_adapter_in_model(config, decoder)
    except ValueError as error:
        raise ConfigError(f'model.lora: {error} Linear layers of this language model: {", ".join(sorted(linear))}.') from error
    return [name for name, module in decoder.named_modules() if hasattr(module, 'lora_A')]
