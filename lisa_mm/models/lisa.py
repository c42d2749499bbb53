"""LISA: an answer in words whose ``[SEG]`` tokens become masks (Lai et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from ..errors import ConfigError, nearest
from ..registry import MASK_DECODERS, MLLMS, MODELS, SEG_HEADS
from ..sharding import is_sharded
from ..structures import SegDataSample
from .base import BaseMaskDecoder, BaseMLLM, BaseSegHead, GenerateOutput, ImageEmbeddings, Part, TrainableGroup
from .batch import LossInputs, LowResOutputs, ModelInputs, ModelOutputs
from .batch_layout import BatchLayout, layout_of
from .data_preprocessor import SegDataPreprocessor
from .frozen_features import complete_features, is_cached
from .full_size import FullSizeMaps
from .lora import begins_from_weights
from .losses.building import build_losses, loss_name
from .reading import current_reading, reading_weights
from .token_ids import token_ids
from .tuning import check_tuning, resolve, set_mode
from .widths import with_derived

# pixels (n, 3, M, M) of some images of a batch, and their numbers in it -> embeddings
Encode = Callable[[Tensor, list[int]], ImageEmbeddings]


@MODELS.register_module()
class LISA(BaseModel):
    """A multimodal LLM, a seg head and a mask decoder.

    Args:
        mllm: The multimodal LLM.
        mask_decoder: The mask decoder; owns its image encoder.
        seg_head: The seg head; its widths are derived.
        losses: Any number of losses by name, such as ``dict(ce=..., bce=..., dice=...)``; None leaves one out.
        lora: Arguments of ``peft.LoraConfig`` for the language model, or None; two further dicts of such arguments inside it,
            ``vision_tower`` and ``image_encoder``, put adapters into these parts too.
        tuning: For a language model without LoRA: ``'full'`` trains its own weights, ``'frozen'`` or None does not.
        train_embeddings: True trains all token embeddings and the output head (as published), ``'new_rows'`` only the rows of
            the added tokens (``[SEG]``, ``<im_start>``, ``<im_end>``), False none. For the other parts, their own ``frozen``
            decides; :mod:`.tuning` has the table.
        seg_token_id: Id of ``[SEG]`` if there is no tokenizer; otherwise the tokenizer gives it. The language model's
            ``mask_tokens`` name the tokens that become masks.

    Inputs: See :class:`lisa_mm.models.batch.ModelInputs`.
    """

    data_preprocessor: SegDataPreprocessor

    def __init__(
        self,
        mllm: dict[str, Any],
        mask_decoder: dict[str, Any],
        seg_head: dict[str, Any],
        losses: dict[str, Any],
        *,
        lora: dict[str, Any] | None = None,
        tuning: str | None = None,
        train_embeddings: bool | str = True,
        seg_token_id: int | None = None,
    ):
        check_tuning(lora, tuning, train_embeddings)  # before any weights are read
        with reading_weights(None if begins_from_weights(lora) else current_reading()):
            built_mllm: BaseMLLM = MLLMS.build(mllm)
            built_decoder: BaseMaskDecoder = MASK_DECODERS.build(mask_decoder)
        super().__init__(data_preprocessor=SegDataPreprocessor(built_mllm.preprocess, built_decoder.preprocess))
        self.mllm = built_mllm
        self.mask_decoder = built_decoder
        widths = {'in_channels': built_mllm.hidden_size, 'prompt_dim': built_decoder.prompt_dim}
        sources = {'in_channels': 'model.mllm', 'prompt_dim': 'model.mask_decoder'}
        self.seg_head: BaseSegHead = SEG_HEADS.build(with_derived(seg_head, widths, 'model.seg_head', sources))
        self.losses = build_losses(losses)
        # None only on the meta device, where the tokenizer may be absent
        of_tokenizer = token_ids(built_mllm).masks
        if seg_token_id is not None and of_tokenizer is not None and seg_token_id != of_tokenizer[0]:
            raise ConfigError(
                f'model.seg_token_id is {seg_token_id}, but [SEG] is {of_tokenizer[0]} in the tokenizer of '
                'model.mllm. Leave it out.'
            )
        rows = built_mllm.vocab_size
        if of_tokenizer is not None and max(of_tokenizer) >= rows:
            raise ConfigError(
                f'model.mllm.language_model.vocab_size gives {rows} rows of embeddings, but [SEG] is {max(of_tokenizer)} in the '
                f'tokenizer: it must be at least {max(of_tokenizer) + 1}. Leave it out.'
            )
        self.set_mask_tokens(of_tokenizer or ([] if seg_token_id is None else [seg_token_id]))
        self.tuned = resolve(self, lora=lora, tuning=tuning, train_embeddings=train_embeddings)
        self.lora_targets = [name for name, module in self.named_modules() if isinstance(module, LoraLayer)]

    def set_mask_tokens(self, ids: Sequence[int]) -> None:
        """Set the tokens that become masks.

        Args:
            ids: Token ids in the order of ``mask_tokens``.
        """
        self.mask_token_ids = tuple(ids)
        self.data_preprocessor.look = self.layout_of

    @property
    def seg_token_id(self) -> int | None:
        """Id of ``[SEG]``, the first of the mask tokens; None on the meta device if the tokenizer is absent."""
        return self.mask_token_ids[0] if self.mask_token_ids else None

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        """The groups that can be trained or frozen separately (:mod:`.tuning`); a subclass's other parameters are trained."""
        return {
            'mllm': self.mllm,
            'seg_head': self.seg_head,
            'mask_decoder': self.mask_decoder,
            'losses': TrainableGroup((self.losses,)),
        }

    def train(self, mode: bool = True) -> LISA:
        """Frozen parts stay in eval mode; the dropout of their adapters does not."""
        super().train(mode)
        set_mode(self, self.tuned, mode)
        return self

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - BaseModel knows one tensor as input
        self,
        inputs: ModelInputs,
        data_samples: list[SegDataSample] | None = None,
        mode: str = 'tensor',
        **options: object,
    ) -> ModelOutputs | dict[str, Tensor] | list[SegDataSample]:
        """Run the model in one of four modes.

        Args:
            inputs: The batch, see above.
            data_samples: One per image.
            mode: ``'loss'`` gives a dict of losses, ``'predict'`` data samples with ``mask_logits`` of the given answers,
                ``'generate'`` data samples with the model's own answers and their masks, ``'tensor'`` every intermediate value.
            options: Arguments of :meth:`predict` or :meth:`generate`.

        Raises:
            ValueError: for any other mode.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        if mode == 'predict':
            return self.predict(inputs, data_samples or [], **options)  # pyright: ignore[reportArgumentType] - binary is one
        if mode == 'tensor':
            return self.tensor(inputs, data_samples or [])
        if mode == 'generate':
            return self.generate(inputs, data_samples or [], **options)  # pyright: ignore[reportArgumentType] - encode is one, the others are transformers'
        raise ValueError(f"mode is {mode!r}; allowed: 'loss', 'predict', 'generate', 'tensor'")

    def tensor(self, inputs: ModelInputs, data_samples: list[SegDataSample]) -> ModelOutputs:
        """Every intermediate value up to the mask logits, by name."""
        computed = self.segment(inputs, len(data_samples))
        return {**computed, 'mask_logits': self._full_size(computed['low_res_logits'], data_samples)}

    def _full_size(self, low_res: list[Tensor], data_samples: list[SegDataSample]) -> FullSizeMaps:
        def upscale(image: int, logits: Tensor) -> Tensor:
            return self.mask_decoder.upscale(logits, data_samples[image].resized_size, data_samples[image].original_size)

        if len(low_res) != len(data_samples):
            raise ValueError(f'{len(low_res)} images with logits, but {len(data_samples)} data samples')
        return FullSizeMaps(low_res, upscale)

    def segment(self, inputs: ModelInputs, num_images: int) -> LowResOutputs:
        """Every intermediate value up to the low-resolution logits, by name."""
        layout = self.layout_of(inputs)
        inputs = {**inputs, 'layout': layout}

        # Words: logits only where a label needs them
        words = self.mllm(inputs, layout.label_places)

        # Prompts: joined over the rows of an image
        row_prompts = self.seg_head(words.hidden_states, inputs['input_ids'], layout.prompts)
        prompts = self.prompts_by_image(row_prompts, layout.image_of_row, num_images)

        # Masks
        wanted = [len(prompt) > 0 for prompt in prompts]
        nothing = None
        if not any(wanted) and (self.training or is_sharded(self)):
            nothing = self._decode_nothing(inputs, row_prompts)
        embeddings, low_res = self.decode(inputs, prompts, wanted)
        return {
            'hidden_states': words.hidden_states,
            'word_logits': words.logits,
            'word_targets': layout.labels,
            'prompts': prompts,
            'image_embeddings': embeddings,
            'low_res_logits': low_res,
            'nothing': nothing,
        }

    def layout_of(self, inputs: ModelInputs) -> BatchLayout:
        """Positions of tokens in a batch; the data preprocessor finds them before the batch goes to the device."""
        return layout_of(inputs, self.mask_token_ids, share_prefix=self.mllm.share_prefix)

    def prompts_by_image(self, row_prompts: list[Tensor], image_of_row: list[int], num_images: int) -> list[Tensor]:
        """R prompts of rows -> B prompts of images; rows about no image must have none."""
        grouped: list[list[Tensor]] = [[] for _ in range(num_images)]
        for prompts, image in zip(row_prompts, image_of_row, strict=True):
            if image >= 0:
                grouped[image].append(prompts)
        empty = row_prompts[0][:0]
        return [torch.cat(group) if group else empty for group in grouped]

    def decode(
        self, inputs: ModelInputs, prompts: list[Tensor], wanted: list[bool], encode: Encode | None = None
    ) -> tuple[ImageEmbeddings | None, list[Tensor]]:
        """Encode the images that have prompts, and decode. B prompts -> B low-resolution logits (K_i, h, w)."""
        if not any(wanted):
            return None, [prompt.new_zeros((0, 1, 1)) for prompt in prompts]
        embeddings = self.encode_images(inputs, [number for number, want in enumerate(wanted) if want], encode)
        decoded = iter(self.mask_decoder(embeddings, [p for p, w in zip(prompts, wanted, strict=True) if w]))
        return embeddings, [next(decoded) if want else p.new_zeros((0, 1, 1)) for p, want in zip(prompts, wanted, strict=True)]

    def encode_images(self, inputs: ModelInputs, numbers: list[int], encode: Encode | None = None) -> ImageEmbeddings:
        """Embeddings of some images of the batch; an encoder runs only over those whose features were not found on disk."""
        decoder = self.mask_decoder
        if is_cached('image_encoder', inputs):
            maps = complete_features('image_encoder', decoder, inputs, numbers)
            return decoder.from_features(ImageEmbeddings(maps.pop('features'), maps))
        assert 'mask_images' in inputs
        images = inputs['mask_images']
        if len(numbers) < len(images):
            images = torch.stack([images[number] for number in numbers])
        return encode(images, numbers) if encode is not None else decoder.encode_image(images)

    def loss(self, inputs: ModelInputs, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """All weighted losses, by their names in the log."""
        computed = self.tensor(inputs, data_samples)
        outputs: LossInputs = {**computed, 'mask_targets': self._mask_targets(computed, data_samples)}
        losses = {loss_name(key): loss(outputs, data_samples) * loss.weight for key, loss in self.losses.items()}

        # Processes stay in step even if their batches reach different parameters: each loss has a gradient on each process
        zero = self._zero(outputs)
        return {name: loss + zero for name, loss in losses.items()}

    def _mask_targets(self, computed: ModelOutputs, data_samples: list[SegDataSample]) -> FullSizeMaps:
        for sample, logits in zip(data_samples, FullSizeMaps.of(computed['mask_logits']).sources, strict=True):
            if len(logits) != len(sample.gt_masks) or sample.gt_masks.shape[1:] != sample.original_size:
                raise ValueError(
                    f'{sample.sample_id}: {len(logits)} mask tokens in its rows gave mask logits '
                    f'{(len(logits), *sample.original_size)}, but gt_masks are {tuple(sample.gt_masks.shape)}. Every mask token '
                    '([SEG]) needs one mask of the image size.'
                )
        return FullSizeMaps([sample.gt_masks for sample in data_samples], lambda _, masks: masks.float())

    def _zero(self, outputs: ModelOutputs) -> Tensor:
        """0 with a gradient path to every trained parameter that this batch's losses may not reach.

        Parameters of losses that ZeRO-3 has sharded are left out: such a loss must use them in every batch.
        """
        zero = outputs['hidden_states'][:0].sum(dtype=torch.float32)
        if outputs['nothing'] is not None:
            zero = zero + outputs['nothing']
        if self.training and not is_sharded(self):
            for parameter in self.losses.parameters():
                zero = zero + parameter.flatten()[:0].sum(dtype=torch.float32)
        return zero

    def _decode_nothing(self, inputs: ModelInputs, row_prompts: list[Tensor]) -> Tensor:
        """0 with a gradient path to every trainable parameter of head and decoder; runs the modules of a masked batch in order.

        A process without masks must not keep the others waiting: all average their gradients together, and ZeRO-3 gathers
        the parameters of each module together.
        """
        none = torch.cat(row_prompts)  # (0, C)
        prompt = none.new_zeros(1, none.shape[1]) + none.sum()
        embeddings = self.encode_images(inputs, [0])
        return self.mask_decoder(embeddings, [prompt])[0].float().sum() * 0

    @torch.no_grad()
    def predict(self, inputs: ModelInputs, data_samples: list[SegDataSample], *, binary: bool = False) -> list[SegDataSample]:
        """Teacher-forced: the ``[SEG]`` of the given rows become ``mask_logits`` (K, H, W) of their data samples.

        Args:
            inputs: The batch.
            data_samples: One per image.
            binary: Set ``masks`` (K, H, W) bool instead, with one map of logits at a time in memory.
        """
        self._set_masks(data_samples, self.tensor(inputs, data_samples)['mask_logits'], binary=binary)
        return data_samples

    @staticmethod
    def _set_masks(data_samples: list[SegDataSample], maps: Sequence[Tensor], *, binary: bool) -> None:
        """Mask logits (K, H, W) of each image -> ``mask_logits`` or ``masks`` of its data sample."""
        logits = FullSizeMaps.of(maps)
        for image, sample in enumerate(data_samples):
            if not binary:
                sample.set_data({'mask_logits': logits[image]})
                continue
            source = logits.sources[image]
            masks = torch.empty(len(source), *sample.original_size, dtype=torch.bool, device=source.device)
            for mask, one in zip(masks, source, strict=True):
                torch.gt(logits.convert(image, one[None])[0], 0, out=mask)
            sample.set_data({'masks': masks})

    @torch.no_grad()
    def generate(
        self,
        inputs: ModelInputs,
        data_samples: list[SegDataSample],
        *,
        encode: Encode | None = None,
        binary: bool = False,
        **options: Any,
    ) -> list[SegDataSample]:
        """Answer R rows about B images, each to its own end, with one mask per mask token (including those in the prompt).

        Args:
            inputs: The batch as above, without labels.
            data_samples: One per image; ``resized_size`` and ``original_size`` are used.
            encode: Replaces the mask decoder's ``encode_image``, for callers that cache images.
            binary: Set ``masks`` in place of ``mask_logits``, as in :meth:`predict`.
            options: Arguments of transformers' ``generate``, with one answer per row: sampling, not beams.

        Returns:
            The data samples with ``generated``, one :class:`GenerateOutput` per row, and the rows' ``mask_logits`` (K, H, W).

        Raises:
            ConfigError: for several beams or answers.
        """
        for name in ('num_beams', 'num_return_sequences'):
            if (options.get(name) or 1) > 1:
                raise ConfigError(
                    f'{name}={options[name]}: masks come from the hidden states of one answer, as it was generated. '
                    'Leave it out; do_sample=True gives other answers.'
                )
        layout = self.layout_of(inputs)
        outputs = self.mllm.generate({**inputs, 'layout': layout}, **options)
        row_prompts = [self._row_prompts(output) for output in outputs]
        prompts = self.prompts_by_image(row_prompts, layout.image_of_row, len(data_samples))
        _, low_res = self.decode(inputs, prompts, [len(prompt) > 0 for prompt in prompts], encode)
        self._set_masks(data_samples, self._full_size(low_res, data_samples), binary=binary)
        for image, sample in enumerate(data_samples):
            sample.set_data(
                {'generated': [output for output, of in zip(outputs, layout.image_of_row, strict=True) if of == image]}
            )
        return data_samples

    def _row_prompts(self, output: GenerateOutput) -> Tensor:
        ids = output.ids[: len(output.hidden_states) + 1]
        # the last id has no state; the head uses the one before
        states = F.pad(output.hidden_states, (0, 0, 0, len(ids) - len(output.hidden_states)))
        return self.seg_head(states[None], ids[None], self.mask_token_ids)[0]

    def answer(
        self, inputs: ModelInputs, sample: SegDataSample, *, encode: Encode | None = None, **options: Any
    ) -> tuple[GenerateOutput, Tensor]:
        """:meth:`generate` for one row about one image: its ids with their states, and mask logits (K, H, W)."""
        answered = self.generate(inputs, [sample], encode=encode, **options)[0]
        return answered.generated[0], answered.mask_logits


def model_class(name: object) -> type[LISA]:
    """The class named by ``model.type``.

    Raises:
        ConfigError: unless it is LISA or a registered subclass.
    """
    cls = MODELS.get(str(name))
    if not (isinstance(cls, type) and issubclass(cls, LISA)):
        raise ConfigError(
            f"model.type is {name!r}; it must be 'LISA' or a subclass of it that a module named in custom_imports registers in "
            f'lisa_mm.registry.MODELS.{nearest(str(name), ["LISA"])}'
        )
    return cls
