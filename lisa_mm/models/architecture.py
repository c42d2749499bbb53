"""Read an architecture written in a config as a transformers config object; its faults are reported with the config's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from ..errors import CheckpointError, ConfigError, nearest
from ..file_kinds import library_words, read_json

# Keys that config classes accept beside their fields: older names, and keys that any published config.json may hold
COMMON = {
    *('model_type', 'attn_implementation', 'torch_dtype', 'dtype', 'rope_theta', 'rope_scaling'),
    *('bos_token_id', 'eos_token_id', 'pad_token_id', 'tie_word_embeddings', 'use_cache', 'transformers_version'),
}
# Read by models whose config class declares it only from transformers 5.23 on
UNDECLARED = {'SiglipVisionConfig': {'vision_use_head'}}
# Keys by which a transformers config describes itself, not the architecture
OF_ITSELF = ('architectures', 'dtype', 'torch_dtype', 'transformers_version', 'quantization_config')
HEADS = ('hidden_size', 'num_attention_heads'), ('num_attention_heads', 'num_key_value_heads')
IMAGES = (('image_size', 'patch_size'),)


def written_architecture(
    written: Mapping[str, Any], where: str, *, cls: type[PretrainedConfig] | None = None
) -> PretrainedConfig:
    """Build the config object of an architecture.

    Args:
        written: Keys of a transformers config class; with ``model_type`` where ``cls`` is not given.
        where: Path in the config, for errors.
        cls: The config class, where it is known.

    Raises:
        ConfigError: for an unknown ``model_type``, unknown keys, values of a wrong type, sizes that don't divide.
    """
    if cls is None:
        kind = written.get('model_type')
        if kind not in CONFIG_MAPPING:
            raise ConfigError(
                f'{where}.model_type is {kind!r}, which transformers does not know.{nearest(str(kind), CONFIG_MAPPING)}'
            )
        cls = CONFIG_MAPPING[kind]  # pyright: ignore[reportArgumentType] - a key, seen above
    faults = unknown_keys(written, cls, where)
    if faults:
        raise ConfigError(faults)
    try:
        built = AutoConfig.for_model(**written) if 'model_type' in written else cls(**written)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        said = ' '.join(str(error).split())
        raise ConfigError(f'{where} is no {cls.__name__}: {said} Correct it there; given: {dict(written)}.') from error
    faults = undivided(written, built, where)
    if faults:
        raise ConfigError(faults)
    return built


def folder_architecture(folder: Path) -> PretrainedConfig:
    """Read the architecture of a Hugging Face folder from its ``config.json``.

    Raises:
        CheckpointError: if the file is missing, unreadable, or of a model that transformers does not know.
    """
    file = folder / 'config.json'
    kind = read_json(file).get('model_type')
    if kind is None:
        raise CheckpointError(f'{file} has no model_type: it is not the config.json of a transformers model. Download it again.')
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (StrictDataclassError, OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f'{file}: transformers cannot read it ({library_words(error)}).') from None


def architecture_of(built: PretrainedConfig) -> dict[str, Any]:
    """The inverse of :func:`written_architecture`: keys that rebuild an equal config object, without the class's defaults.

    Raises:
        CheckpointError: if the rebuilt object would differ.
    """
    written = {**_read_keys(built.to_diff_dict(), type(built)), 'model_type': built.model_type}
    again, wanted = (_read_keys(config.to_dict(), type(built)) for config in (written_architecture(written, 'config'), built))
    lost = sorted(key for key in wanted if again.get(key) != wanted[key])
    if lost:
        raise CheckpointError(f'{type(built).__name__} cannot be written as an architecture: it would lose {", ".join(lost)}.')
    return written


def _read_keys(written: Mapping[str, Any], cls: type[PretrainedConfig]) -> dict[str, Any]:
    """The keys that the class and the configs of its parts read; folders often hold more."""
    kept = {}
    # a key behind a property is listed under the property's own field (Idefics 3: _pad_token_id)
    written = {key.removeprefix('_'): value for key, value in written.items()}
    for key in (written.keys() & _known(cls)) - set(OF_ITSELF):
        value, inner = written[key], _part_class(cls, key, written[key])
        kept[key] = {**_read_keys(value, inner), 'model_type': inner.model_type} if inner else value
    return dict(sorted(kept.items()))


def unknown_keys(written: Mapping[str, Any], cls: type[PretrainedConfig], where: str) -> list[str]:
    """Keys that the class, or the config of one of its parts, would accept silently and never read."""
    known = _known(cls)
    faults = []
    for key, value in written.items():
        if key not in known:
            faults.append(f'{where}.{key}={value!r}: {cls.__name__} has no {key!r}.{nearest(key, known)}')
        elif inner := _part_class(cls, key, value):
            faults += unknown_keys(value, inner, f'{where}.{key}')
    return faults


def _known(cls: type[PretrainedConfig]) -> set[str]:
    return (
        {field.name for field in dataclasses.fields(cls)} | set(cls.attribute_map) | COMMON | UNDECLARED.get(cls.__name__, set())
    )


def _part_class(cls: type[PretrainedConfig], key: str, value: object) -> type[PretrainedConfig] | None:
    """The config class of a value that describes a part."""
    parts: dict[str, Any] = cls.sub_configs  # type: ignore[assignment] - a property in some stubs
    if key not in parts or not isinstance(value, dict):
        return None
    kind = value.get('model_type')
    inner: Any = CONFIG_MAPPING[kind] if kind in CONFIG_MAPPING else parts[key]  # its get() finds nothing  # pyright: ignore[reportArgumentType] - a key where it is looked up
    inner = type(getattr(cls(), key)) if inner is AutoConfig else inner
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) else None  # type: ignore[return-value] - narrowed to a dataclass


def undivided(written: Mapping[str, Any], built: PretrainedConfig, where: str) -> list[str]:
    """Faults where one size must divide another; a class with its own head width allows any number of heads."""
    faults = []
    for whole, divisor in (*HEADS, *IMAGES):
        values: list[Any] = [getattr(built, key, None) for key in (whole, divisor)]
        free = whole == 'hidden_size' and ('head_dim' in written or type(written.get(whole)) is not int)
        if not all(type(value) is int and value > 0 for value in values) or free:
            continue
        if values[0] % values[1]:
            faults.append(
                f'{where}.{whole} is {values[0]}, no multiple of {divisor}={values[1]}. Change one of them, e.g. '
                f'{whole}={values[0] // values[1] * values[1] or values[1]}.'
            )
    return faults
