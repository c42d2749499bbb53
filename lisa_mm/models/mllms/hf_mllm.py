"""A whole multimodal model of transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, CLIPVisionModel, PretrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

from ...datasets.tokenizer import build_tokenizer, check_tokens
from ...errors import CheckpointError, ConfigError
from ...registry import MLLMS
from ...sharding import full_shape, is_sharded
from ...structures import ProcessorImageSpec, TokenizerSpec
from ...tokens import IMAGE_TOKEN_ID, MASK_TOKENS
from ..architecture import architecture_of, folder_architecture, written_architecture
from ..base import BaseMLLM, GenerateOutput, MLLMOutput, Part, TrainableGroup
from ..batch import ModelInputs
from ..batch_layout import layout_of, rows_to_share
from ..generation import generate_rows, padded_left
from ..new_rows import add_rows, matrices_to_grow
from ..shared_masks import image_runs, model_masks, shares_prefix, with_images
from ..shared_prefix import SharedRows
from ..transformers_versions import build_shapes, encoded_images, read_model, recompute_layers, run_model, takes_images
from ..weights import is_trained
from .largest_image import largest_image

# PaliGemma attends bidirectionally unless token types mark the answer, so earlier turns would see later ones
REFUSED = {'paligemma': 'its attention is bidirectional over all but the answer of a row: later turns would leak'}
_NO_CONFIG = 'mllm.pretrained: {} holds no config.json. Give a Hugging Face folder.'
IMAGES_SEE_THEMSELVES = {'gemma3'}  # the tokens of an image also see those after them
PROJECTORS = ('multi_modal_projector', 'connector', 'merger', 'deepstack_merger_list')


@MLLMS.register_module()
class HFMLLM(BaseMLLM):
    """Any ``AutoModelForImageTextToText`` with its own image processor: LLaVA, LLaVA-NeXT, Qwen2-VL, Qwen2.5-VL, InternVL, ...

    The processor makes an image's pixels and gives its tokens in a row (``image_inputs`` and ``image_ids`` of a sample);
    tokens that stand for features are -200 in ``input_ids``, as everywhere here. Each image is encoded once, however many rows
    it has.

    Args:
        pretrained: A Hugging Face folder with weights, or None for random ones.
        config: The architecture, ``dict(model_type='llava', text_config=..., vision_config=...)``; needed without ``pretrained``.
            Beside ``pretrained`` it is used only while the folder is missing; afterwards the folder's ``config.json`` decides.
        processor: A folder with processor and tokenizer; ``pretrained`` if left out.
        template: Conversation template, see :class:`lisa_mm.models.language_models.CausalLM`.
        image_text: The text that stands for an image in this model; taken from the processor's chat template if left out.
        image_options: Options of the image processor, e.g. ``dict(max_pixels=1003520)``.
        vocab_size: Number of embedding rows, ``[SEG]`` included; derived from the tokenizer if left out.
        mask_tokens, answer_tokens: See :class:`lisa_mm.models.language_models.CausalLM`.
        vision_frozen: If True, the vision tower gets no gradient and runs outside the graph.
        projector_frozen: The same for the projector, which maps its features to the language model's width.
        gradient_checkpointing: Recompute the activations of the language model's layers in backward.
        attention: 'sdpa', 'eager', 'flash_attention_2'; the model's default if left out.
        share_prefix: See :class:`lisa_mm.models.language_models.CausalLM`. Answers are generated row by row all the same.
        frozen: If True, none of the part's own weights is trained, and settings that would train them are refused. If False,
            ``vision_frozen``, ``projector_frozen``, and for the language model ``model.lora``, ``model.tuning`` and
            ``model.train_embeddings`` decide what is trained.

    Inputs, in addition to those of :class:`lisa_mm.models.batch.ModelInputs`:
        image_inputs: One dict of tensors per image, as the processor gives them (``pixel_values``, ``image_grid_thw``, ...).

    Raises:
        ConfigError: if neither folder nor architecture is given, or for a model that would give wrong results silently.
        CheckpointError: if weights are missing.
    """

    tokens_by_image = True

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        processor: str | None = None,
        template: str = 'chat',
        image_text: str | None = None,
        image_options: dict[str, Any] | None = None,
        vocab_size: int | None = None,
        mask_tokens: list[str] | tuple[str, ...] = MASK_TOKENS,
        answer_tokens: list[str] | tuple[str, ...] = (),
        vision_frozen: bool = True,
        projector_frozen: bool = True,
        gradient_checkpointing: bool = False,
        attention: str | None = None,
        share_prefix: bool | None = None,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        if pretrained is None and config is None:
            raise ConfigError("HFMLLM needs pretrained=FOLDER or config=dict(model_type='llava', text_config=..., ...).")
        if pretrained is None and processor is None:
            raise ConfigError('HFMLLM needs processor=FOLDER when no pretrained folder is given.')
        for key, value in (('vision_frozen', vision_frozen), ('projector_frozen', projector_frozen)):
            if frozen and not value:
                raise ConfigError(f'model.mllm.frozen=True, but {key}=False trains a part of it. Leave out one of the two.')
        self._folder = Path(pretrained) if pretrained else None
        self.vision_frozen = vision_frozen
        self.projector_frozen = projector_frozen
        check_tokens(mask_tokens, answer_tokens)
        self._tokenizer_spec = TokenizerSpec(
            pretrained=str(processor or pretrained),
            template=template,
            wrap_image=False,
            mask_tokens=tuple(mask_tokens),
            answer_tokens=tuple(answer_tokens),
        )
        self._image_text = image_text
        self._image_options = dict(image_options or {})
        self._options = {'attn_implementation': attention} if attention else {}
        self._vocab_size = vocab_size
        self._gradient_checkpointing = gradient_checkpointing
        self._share_prefix = share_prefix
        self.written = dict(config) if config else None
        architecture = self._architecture(config)
        build = AutoModelForImageTextToText.from_config
        if self._folder:
            self.model: Any = self._prepared(build_shapes(build, architecture, **self._options))
        else:
            self.model = self._prepared(build(architecture, dtype=torch.float32, **self._options))
        self.image_token_id = _image_token_id(self.model.config)
        self._accepted = set(inspect.signature(self.model.forward).parameters)
        self._accepted |= set(inspect.signature(self.model.model.forward).parameters)
        if not takes_images(self.model, self._accepted):
            raise ConfigError(f'HFMLLM: {self.model.config.model_type!r} does not take encoded images (mm_encoder_outputs).')
        if not projector_frozen and not self._projector():
            raise ConfigError(f'mllm.projector_frozen=False: found no projector ({", ".join(PROJECTORS)}) in this model.')

    def _architecture(self, config: dict[str, Any] | None) -> PretrainedConfig:
        """The architecture of the folder if it exists, else the written one."""
        folder = self._folder
        if config is not None and 'model_type' not in config:
            raise ConfigError("mllm.config needs model_type, e.g. 'llava'.")
        there = folder is not None and (folder / 'config.json').is_file()
        if not there and config is None:
            raise CheckpointError(_NO_CONFIG.format(folder))
        written = folder_architecture(folder) if there else written_architecture(config or {}, 'model.mllm.config')  # pyright: ignore[reportArgumentType] - there is one
        if written.model_type in REFUSED:
            raise ConfigError(f'HFMLLM does not take {written.model_type!r}: {REFUSED[written.model_type]}.')
        if type(written) not in AutoModelForImageTextToText._model_mapping:
            raise ConfigError(f'HFMLLM: {written.model_type!r} is no model of images and text. A language model is a CausalLM.')
        return written

    def load_pretrained(self) -> None:
        self.from_file = self._folder is not None
        if self._folder is None:
            return
        if not (self._folder / 'config.json').is_file():
            raise CheckpointError(_NO_CONFIG.format(self._folder))
        del self.model  # frees the meta model, built for its shapes
        exact = matrices_to_grow(folder_architecture(self._folder), self._rows())
        model = read_model(AutoModelForImageTextToText, self._folder, 'the model', exact=exact, **self._options)
        self.model = self._prepared(model)

    def _prepared(self, model: Any) -> Any:
        """Settings for shapes and weights alike: shared prefix, rows for the new tokens, recomputation."""
        self.share_prefix = shares_prefix(self._share_prefix, model, 'model.mllm.share_prefix')
        rows = self._rows()
        if rows is not None:
            add_rows(model, rows)
        if self._gradient_checkpointing:
            recompute_layers(model.get_decoder())
        return model

    def _rows(self) -> int | None:
        """Number of embedding rows with the new tokens; a vocabulary that is already padded keeps its size."""
        if self._vocab_size is None and Path(self._tokenizer_spec['pretrained']).is_dir():
            return len(build_tokenizer(**self._tokenizer_spec))
        return self._vocab_size

    def _vision(self) -> list[nn.Module]:
        """All modules outside the language model: the tower, the projector and any others."""
        decoder = self.model.get_decoder()
        return [child for child in self.model.model.children() if child is not decoder]

    def _projector(self) -> list[nn.Module]:
        named = [item for module in self._vision() for item in module.named_modules()]
        children = [*self.model.model.named_children(), *named]
        return [module for name, module in children if name.rsplit('.', 1)[-1] in PROJECTORS]

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        projectors = self._projector()
        towers = [module for module in self._vision() if all(module is not projector for projector in projectors)]
        named = (*self._vision(), self.model.get_decoder(), self.model.get_output_embeddings())
        inside = {id(parameter) for module in named for parameter in module.parameters()}
        beside = [parameter for parameter in self.model.parameters() if id(parameter) not in inside]  # LLaVA-NeXT: image_newline
        return {
            'vision_tower': TrainableGroup(
                (*towers, *beside),
                frozen=self.frozen or self.vision_frozen,
                key='vision_frozen',
                adapters=towers[0] if len(towers) == 1 else None,
            ),
            'projector': TrainableGroup(tuple(projectors), frozen=self.frozen or self.projector_frozen, key='projector_frozen'),
            'vision_tower.unused': TrainableGroup(tuple(self._unused_vision()), unused=True),
            **self.language_groups(),
        }

    def _unused_vision(self) -> Iterator[nn.Module]:
        """Modules of the tower that no feature uses: layers after the one taken, and pooling heads."""
        taken = getattr(self.model.config, 'vision_feature_layer', None)
        for tower in self._vision():
            of_class_token = ('post_layernorm',) if isinstance(tower, CLIPVisionModel) else ()
            for name, module in tower.named_modules():
                if name.endswith('encoder.layers') and taken is not None:
                    indices = [taken] if isinstance(taken, int) else list(taken)
                    yield from list(module)[max(index % (len(module) + 1) for index in indices) :]  # pyright: ignore[reportArgumentType] - layers are a ModuleList
                elif isinstance(module, SiglipMultiheadAttentionPoolingHead) or name.endswith(of_class_token):
                    yield module

    def without_files(self, tokenizer: str) -> dict[str, Any]:
        return {'config': architecture_of(self.model.config), 'processor': tokenizer}

    @property
    def decoder(self) -> nn.Module:
        return self.model.get_decoder()

    def input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def output_embeddings(self) -> nn.Module:
        return self.model.get_output_embeddings()

    @property
    def hidden_size(self) -> int:
        return full_shape(self.input_embeddings().weight)[1]  # pyright: ignore[reportArgumentType] - torch types attributes as modules too

    @property
    def preprocess(self) -> ProcessorImageSpec:
        return {
            'processor': self._tokenizer_spec['pretrained'],
            'image_text': self._image_text,
            'image_token_id': self.image_token_id,
            'image_options': self._image_options,
        }

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        return self._tokenizer_spec.copy()

    def largest_image(self) -> tuple[dict[str, Tensor], int]:
        return largest_image(self.model, self._image_options)

    def num_image_tokens(self, height: int, width: int) -> int:
        from ...datasets.processor import blank_image_tokens

        return blank_image_tokens(self.preprocess, height, width)

    def encode_images(self, inputs: ModelInputs, shown_by: Sequence[int] | None = None) -> BaseModelOutputWithPooling | None:
        """Encode each image once; return the features of rows' images, in their order.

        Args:
            inputs: The batch.
            shown_by: The rows, each with an image; all that have one if left out.
        """
        layout = layout_of(inputs)
        counts, image_of, rows = layout.image_tokens, layout.image_of_row, layout.rows_with_image
        if not rows:
            return None
        assert 'image_inputs' in inputs
        shown = sorted({image_of[row] for row in rows})
        out = self._features([inputs['image_inputs'][image] for image in shown])
        given: Any = out.pooler_output
        tokens = torch.cat(list(given)) if isinstance(given, (list, tuple)) else given
        tokens = tokens.reshape(-1, tokens.shape[-1])  # (all, D)

        # An image's rows determine its number of tokens
        wanted = {image_of[row]: counts[row] for row in rows}
        if sum(wanted.values()) != len(tokens) or any(wanted[image_of[row]] != counts[row] for row in rows):
            raise ValueError(
                f'rows hold {[counts[row] for row in rows]} image placeholders, but their images give {len(tokens)} tokens '
                'together: a row was cut inside its image (raise max_length), or the processor is of another model.'
            )
        order = [shown.index(image_of[row]) for row in (rows if shown_by is None else shown_by)]
        sizes = [wanted[image] for image in shown]
        pieces = [tokens.split(sizes)[number] for number in order]
        # before transformers 5.18, the output of Idefics 3 has no field for them
        kind = type(out) if hasattr(type(out), 'pooler_output') else BaseModelOutputWithPooling
        by_row = kind(pooler_output=pieces if isinstance(given, (list, tuple)) else torch.cat(pieces))  # pyright: ignore[reportArgumentType] - some models give a list
        layers = getattr(out, 'deepstack_features', None)
        if layers is not None:  # Qwen3-VL also has features for the first layers
            split = [list(layer if isinstance(layer, (list, tuple)) else layer.split(sizes)) for layer in layers]
            by_layer = [[layer[number] for number in order] for layer in split]
            if not isinstance(layers[0], (list, tuple)):  # either one tensor per image or one for all
                by_layer = [torch.cat(layer) for layer in by_layer]
            by_row.deepstack_features = by_layer
        return by_row

    def _features(self, images: list[dict[str, Tensor]]) -> Any:
        with torch.set_grad_enabled(self._vision_trains()):
            return self.model.get_image_features(**self._join(images), return_dict=True)

    def _vision_trains(self) -> bool:
        return torch.is_grad_enabled() and any(map(is_trained, self._vision()))

    def _encode_nothing(self, inputs: ModelInputs) -> Tensor | None:
        """0 through vision tower and projector, where other processes may show images and run them together with this one."""
        if not self._vision_trains() and not is_sharded(self):
            return None
        assert 'image_inputs' in inputs
        out = self._features(inputs['image_inputs'][:1])
        given: list[Any] = [out.pooler_output, *(getattr(out, 'deepstack_features', None) or [])]
        tensors = [tensor for value in given for tensor in (value if isinstance(value, (list, tuple)) else [value])]
        return torch.stack([tensor.sum() for tensor in tensors]).sum() * 0

    def _join(self, images: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Concatenate the inputs of images; tiles of smaller images are padded with zeros."""
        dtype = self.model.get_input_embeddings().weight.dtype
        joined = {}
        for key in images[0]:
            values = [image[key].to(dtype) if image[key].is_floating_point() else image[key] for image in images]
            largest = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
            padded = []
            for value in values:
                whole = value.new_zeros(len(value), *largest)
                whole[(slice(None), *(slice(size) for size in value.shape[1:]))] = value
                padded.append(whole)
            joined[key] = torch.cat(padded)
        return joined

    def _arguments(self, inputs: ModelInputs) -> dict[str, Any]:
        """The model's arguments besides embeddings and pixels."""
        places = inputs['input_ids'] == IMAGE_TOKEN_ID
        arguments: dict[str, Any] = {
            'input_ids': inputs['input_ids'].masked_fill(places, self.image_token_id),
            'attention_mask': inputs['attention_mask'].long(),
        }
        for key in ('mm_token_type_ids', 'token_type_ids'):  # without them some models give wrong results silently
            if key in self._accepted:
                arguments[key] = places.long()
                break
        layout = layout_of(inputs)
        if layout.rows_with_image and 'image_grid_thw' in self._accepted:  # positions within an image need it for every row
            assert 'image_inputs' in inputs
            images = [inputs['image_inputs'][layout.image_of_row[row]] for row in layout.rows_with_image]
            arguments['image_grid_thw'] = torch.cat([image['image_grid_thw'] for image in images])
        return arguments

    def embed(self, inputs: ModelInputs) -> Tensor:
        places = inputs['input_ids'] == IMAGE_TOKEN_ID
        embeds = self.model.get_input_embeddings()(inputs['input_ids'].masked_fill(places, self.image_token_id))
        images = self.encode_images(inputs)
        if images is None:
            return embeds
        given: Any = images.pooler_output
        tokens = torch.cat(list(given)) if isinstance(given, (list, tuple)) else given
        return embeds.masked_scatter(places[..., None], tokens.to(embeds.dtype))

    def _joined_arguments(self, inputs: ModelInputs, shared: SharedRows) -> dict[str, Any]:
        """:meth:`_arguments` of the rows of each image joined."""
        of_rows = self._arguments(inputs)
        row, position = shared.row, shared.position
        dtype = self.model.get_input_embeddings().weight.dtype
        mask = shared.mask
        if self.model.config.model_type in IMAGES_SEE_THEMSELVES:
            runs = image_runs(inputs['input_ids'] == IMAGE_TOKEN_ID)
            mask = with_images(mask, runs[row, position], shared.segment)
        arguments: dict[str, Any] = {
            'attention_mask': model_masks(self.model.config.get_text_config(), mask, position, dtype),
            'position_ids': position,
        }
        if 'image_grid_thw' in of_rows:  # Qwen-VL: the positions of time, height and width in each row, (3, R, L)
            arguments['position_ids'] = self.model.model.get_rope_index(**of_rows)[0][:, row, position]
        for key in ('input_ids', 'mm_token_type_ids', 'token_type_ids'):
            if key in of_rows:  # padding must not look like an image
                arguments[key] = of_rows[key][row, position].masked_fill(shared.segment < 0, 0)
        return arguments

    def forward(self, inputs: ModelInputs, keep: Tensor) -> MLLMOutput:
        shared = rows_to_share(inputs) if self.share_prefix else None
        images = self.encode_images(inputs, None if shared is None else shared.shown)
        nothing = self._encode_nothing(inputs) if images is None else None
        with encoded_images(self.model, images) as more:
            if shared is None:
                out = run_model(self.model, keep, **self._arguments(inputs), **more)
            else:
                places = shared.place.flatten()[keep.flatten()]
                out = run_model(self.model, places, **self._joined_arguments(inputs, shared), **more)
                out = MLLMOutput(out.hidden_states.flatten(0, 1)[shared.place], out.logits)
        return out if nothing is None else MLLMOutput(out.hidden_states, out.logits + nothing.to(out.logits.dtype))

    def generate(self, inputs: ModelInputs, **options: object) -> list[GenerateOutput]:
        arguments = self._arguments(inputs)
        for key in ('input_ids', 'attention_mask', 'mm_token_type_ids', 'token_type_ids'):
            if key in arguments:
                arguments[key] = padded_left(arguments[key], inputs['attention_mask'])
        with encoded_images(self.model, self.encode_images(inputs)) as more:
            rows = generate_rows(self.model, options, **arguments, **more)
        return [
            GenerateOutput(torch.cat([ids[:length], new]), states)
            for ids, length, (new, states) in zip(inputs['input_ids'], layout_of(inputs).lengths, rows, strict=True)
        ]


def _image_token_id(config: PretrainedConfig) -> int:
    """The id of the tokens that an image's features replace."""
    for name in ('image_token_id', 'image_token_index'):
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    raise ConfigError(f'HFMLLM: the config of {config.model_type!r} names no image token (image_token_id).')
