"""Any causal language model of transformers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ...datasets.tokenizer import build_tokenizer, check_tokens
from ...errors import CheckpointError, ConfigError, nearest
from ...file_kinds import read_json
from ...registry import LANGUAGE_MODELS
from ...sharding import full_shape
from ...structures import TokenizerSpec
from ...tokens import MASK_TOKENS
from ..architecture import architecture_of, folder_architecture, written_architecture
from ..base import BaseLanguageModel, MLLMOutput
from ..generation import generate_rows, padded_left
from ..new_rows import add_rows, matrices_to_grow
from ..shared_decoding import answer_shared, is_plain
from ..shared_masks import FLEX, MASKED, additive, model_masks, shares_prefix, sharing_obstacle, sliding_window
from ..shared_prefix import SharedRows
from ..token_ids import planned_vocabulary
from ..transformers_versions import build_shapes, read_model, recompute_layers, run_model
from ..weights import check_architecture
from .quantization import check_quantization, quantization_options, tell_peft

COMMON = ('llama', 'mistral', 'qwen2', 'qwen3', 'phi3', 'gemma2', 'gemma3_text', 'smollm3', 'olmo2')  # tested families


def read_config(folder: Path) -> PretrainedConfig:
    """Read the architecture of a Hugging Face folder; an original LLaVA or LISA folder holds a Llama."""
    file = folder / 'config.json'
    if not file.is_file():
        raise CheckpointError(f'language_model.pretrained: {folder} holds no config.json. Give a Hugging Face folder.')
    written = read_json(file)
    if written.get('model_type') == 'llava' and 'text_config' not in written:
        return AutoConfig.for_model('llama', **{key: value for key, value in written.items() if key != 'model_type'})
    return folder_architecture(folder)


def build_config(written: dict[str, Any]) -> PretrainedConfig:
    """Build an architecture written in a config.

    Raises:
        ConfigError: if it is not a causal language model's.
    """
    kind = written.get('model_type')
    if kind is None:
        raise ConfigError("language_model.config needs model_type, e.g. 'llama'.")
    if kind not in CONFIG_MAPPING_NAMES:
        raise ConfigError(f'language_model.config.model_type {kind!r} is unknown.{nearest(str(kind), COMMON)}')
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(f'language_model.config.model_type {kind!r} is no causal language model.{nearest(kind, COMMON)}')
    return written_architecture(written, 'language_model.config')


@LANGUAGE_MODELS.register_module()
class CausalLM(BaseLanguageModel):
    """Any ``AutoModelForCausalLM``, from a folder or from an architecture written in the config.

    Args:
        pretrained: A Hugging Face folder with weights, or None for random ones.
        config: The architecture, ``dict(model_type='llama', hidden_size=..., ...)``; needed when ``pretrained`` is None. Beside
            ``pretrained`` it allows checking a config before the folder is there, and must agree with it.
        tokenizer: A folder with the tokenizer; ``pretrained`` if left out.
        template: Conversation template: 'llava_v1', 'llava_llama_2', 'vicuna_v1', 'plain' or 'chat' (the tokenizer's own).
        vocab_size: Number of embedding rows, new tokens included; derived from the tokenizer if left out.
        wrap_image: Put ``<im_start>`` and ``<im_end>`` around the image, as the published models do.
        mask_tokens: Answer tokens that become masks, ``[SEG]`` first: ``['[SEG]', '[PART]']`` has two kinds.
        answer_tokens: Other tokens used in answers, such as ``['[REJ]', '<p>', '</p>']``; new ones get embeddings.
        gradient_checkpointing: Recompute the layers' activations in backward.
        attention: 'sdpa', 'eager', 'flash_attention_2', 'flex_attention'; the model's default if left out. The last is for GPUs:
            it leaves out the blocks of the products in which no token sees another, and has no backward on a CPU.
        quantization: Arguments of transformers' ``BitsAndBytesConfig`` for base weights in 4 or 8 bits under LoRA (QLoRA),
            ``dict(load_in_4bit=True, bnb_4bit_quant_type='nf4')``. Needs bitsandbytes.
        share_prefix: Run the common prefix of the rows about an image, above all the image, through the model once. None does
            it where the family is tested, attention takes a mask (every kind above but 'flash_attention_2') and a batch gets
            shorter by it; True demands it; False runs each row by itself. Losses, states and gradients are equal up to
            rounding in eval mode, or with dropout 0; otherwise dropout is drawn once for all rows of an image.
        frozen: If True, none of the part's own weights is trained, and settings that would train them are refused. If False,
            ``model.lora``, ``model.tuning`` and ``model.train_embeddings`` decide what is trained.

    Raises:
        ConfigError: if neither folder nor architecture is given, or they differ; if ``share_prefix`` does not suit the model.
        CheckpointError: if the folder is unreadable or weights are missing.
    """

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        template: str = 'llava_v1',
        vocab_size: int | None = None,
        wrap_image: bool = True,
        mask_tokens: list[str] | tuple[str, ...] = MASK_TOKENS,
        answer_tokens: list[str] | tuple[str, ...] = (),
        gradient_checkpointing: bool = False,
        attention: str | None = None,
        quantization: dict[str, Any] | None = None,
        share_prefix: bool | None = None,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        if pretrained is None and config is None:
            raise ConfigError("CausalLM needs pretrained=FOLDER or config=dict(model_type='llama', hidden_size=..., ...).")
        if pretrained is None and tokenizer is None:
            raise ConfigError('CausalLM needs tokenizer=FOLDER when no pretrained folder is given.')
        self._folder = Path(pretrained) if pretrained else None
        self._vocab_size = vocab_size
        self._gradient_checkpointing = gradient_checkpointing
        self._options: dict[str, Any] = {'attn_implementation': attention} if attention else {}
        self._tokenizer_spec = TokenizerSpec(
            pretrained=str(tokenizer or pretrained),
            template=template,
            wrap_image=wrap_image,
            mask_tokens=tuple(mask_tokens),
            answer_tokens=tuple(answer_tokens),
        )
        check_tokens(mask_tokens, answer_tokens)
        self._share_prefix = share_prefix
        self.written = dict(config) if config else None
        if quantization is not None:
            check_quantization(quantization, pretrained=pretrained)
            self.quantization = dict(quantization)
        if self._folder and config and (self._folder / 'config.json').is_file():
            found = read_config(self._folder).to_dict()
            # LISA's folders have more rows than the base model they come from
            check_architecture(config, found, 'model.mllm.language_model', self._folder, ignore=('vocab_size',))
        architecture = build_config(config) if config else read_config(self._folder)  # pyright: ignore[reportArgumentType] - one of the two is given
        if self._folder:
            self.model = self._prepared(build_shapes(AutoModelForCausalLM.from_config, architecture, **self._options))
        else:
            model = AutoModelForCausalLM.from_config(architecture, dtype=torch.float32, **self._options)
            self.model = self._prepared(model)

    def load_pretrained(self) -> None:
        self.from_file = self._folder is not None
        if self._folder is None:
            return
        options = {**self._options, **(quantization_options(self.quantization) if self.quantization else {})}
        del self.model  # frees the meta model, built for its shapes
        architecture = read_config(self._folder)
        model = read_model(
            AutoModelForCausalLM,
            self._folder,
            'the language model',
            exact=matrices_to_grow(architecture, self._rows()),
            config=architecture,
            **options,
        )
        tell_peft(model)
        self.model = self._prepared(model)

    def _prepared(self, model: Any) -> Any:
        """Settings for shapes and weights alike: attention, rows for the new tokens, recomputation."""
        if not self._options and getattr(model.config, 'attn_logit_softcapping', None):
            model.set_attn_implementation('eager')  # sdpa ignores the logit caps, and transformers 5.17 does not say so
        key = 'model.mllm.language_model.share_prefix'
        self.share_prefix = shares_prefix(self._share_prefix, model, key, attention=(*MASKED, FLEX))
        rows = self._rows()
        if rows is not None:
            add_rows(model, rows)
        if self._gradient_checkpointing:
            recompute_layers(model.get_decoder())
        return model

    def _rows(self) -> int | None:
        """Number of embedding rows with the new tokens; a vocabulary that is already padded keeps its size."""
        if self._vocab_size is not None:
            return self._vocab_size
        if Path(self._tokenizer_spec['pretrained']).is_dir():
            return len(build_tokenizer(**self._tokenizer_spec))
        return planned_vocabulary(self._tokenizer_spec, self.written)

    @property
    def decoder(self) -> nn.Module:
        return self.model.get_decoder()

    def input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def output_embeddings(self) -> nn.Module:
        return self.model.get_output_embeddings()

    def without_files(self, tokenizer: str) -> dict[str, Any]:
        return {'config': {**architecture_of(self.model.config), 'vocab_size': self.vocab_size}, 'tokenizer': tokenizer}

    @property
    def hidden_size(self) -> int:
        return full_shape(self.input_embeddings().weight)[1]  # pyright: ignore[reportArgumentType] - torch types attributes as modules too

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        return self._tokenizer_spec.copy()

    def forward(self, embeds: Tensor, attention_mask: Tensor, keep: Tensor, *, position_ids: Tensor | None = None) -> MLLMOutput:
        config = self.model.config
        if config._attn_implementation == FLEX and embeds.device.type == 'cpu' and torch.is_grad_enabled():
            raise ConfigError(
                "model.mllm.language_model.attention='flex_attention' cannot train on a CPU: torch has no backward of it there. "
                "Take 'sdpa', or a GPU."
            )
        mask: Any = attention_mask
        if attention_mask.ndim == 4:
            assert position_ids is not None
            mask = model_masks(config, attention_mask, position_ids, embeds.dtype)
        return run_model(self.model, keep, inputs_embeds=embeds, attention_mask=mask, position_ids=position_ids)

    def generate(self, embeds: Tensor, attention_mask: Tensor, **options: object) -> list[tuple[Tensor, Tensor]]:
        return generate_rows(
            self.model,
            options,
            inputs_embeds=padded_left(embeds, attention_mask),
            attention_mask=padded_left(attention_mask.long(), attention_mask),
        )

    def shares_answers(self, options: Iterable[str]) -> bool:
        # a cache of windows forgets, so that the rows of an image cannot lie in it one behind the other
        possible = sharing_obstacle(self.model) is None and sliding_window(self.model.config) is None
        return possible and is_plain(options, getattr(self.model, 'generation_config', None))

    def generate_shared(
        self, embeds: Tensor, shared: SharedRows, lengths: Sequence[int], **options: Any
    ) -> list[tuple[Tensor, Tensor]]:
        def run(embeds: Tensor, mask: Tensor, keep: Tensor, position: Tensor, cache: DynamicCache) -> tuple[Tensor, Tensor]:
            out = run_model(
                self.model,
                keep,
                cache=cache,
                inputs_embeds=embeds,
                attention_mask=additive(mask, embeds.dtype),
                position_ids=position,
            )
            return out.hidden_states, out.logits

        known = self.model.generation_config
        given = {'eos_token_id': known.eos_token_id, 'pad_token_id': known.pad_token_id, 'max_new_tokens': 20, **options}
        return answer_shared(run, self.embed, embeds, shared, lengths, DynamicCache(config=self.model.config), given)
