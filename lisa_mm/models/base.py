"""The contracts of the parts, which plugins subclass. No logic lives here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..registry import BACKBONES, LANGUAGE_MODELS, LOSSES, MASK_DECODERS, MLLMS, PROJECTORS, SEG_HEADS
from ..sharding import full_shape
from ..structures import ImageSpec, MaskImageSpec, SegDataSample, TokenizerSpec, TowerImageSpec
from ..tokens import IGNORE_INDEX, IMAGE_TOKEN_ID
from .batch import LossInputs, ModelInputs
from .phases import BuiltInPhases
from .prompt_positions import PromptPositions

if TYPE_CHECKING:
    from ..datasets.feature_store import FeatureStore
    from .shared_prefix import SharedRows

__all__ = ['IGNORE_INDEX', 'IMAGE_TOKEN_ID']  # plugins may import them from here too


@dataclass
class MLLMOutput:
    """The output of a multimodal LLM.

    Args:
        hidden_states: The last hidden states after the final norm, (R, L, D), aligned with ``input_ids``.
        logits: (T, V), at the requested positions only, in row-major order.
    """

    hidden_states: Tensor
    logits: Tensor


@dataclass
class GenerateOutput:
    """The result of generation for one row, without padding.

    Args:
        ids: Prompt and answer with its end token, (L + new,).
        hidden_states: The states of all ids but the last, (L + new - 1, D).
    """

    ids: Tensor
    hidden_states: Tensor


@dataclass
class ImageEmbeddings:
    """A batch of images, encoded for the mask decoder.

    Args:
        features: (B, C, h, w).
        extra: Further maps that a decoder needs (high-resolution features), name -> (B, ...).
    """

    features: Tensor
    extra: dict[str, Tensor]


@dataclass(frozen=True)
class TrainableGroup:
    """Parameters that are trained, adapted or frozen together, and the modules that follow ``train()`` with them.

    Args:
        members: Modules with all their contents, and single parameters.
        frozen: The setting of the part's config: True leaves the members' own weights as they are.
        key: The argument of the part that holds this setting.
        adapters: The module whose linear layers ``model.lora`` may adapt; the only member if left out.
        unused: True if no loss reaches the members; they are never trained.
        quantized: True if the weights are integers; then only adapters can be trained.
    """

    members: tuple[nn.Module | nn.Parameter, ...]
    frozen: bool = False
    key: str = 'frozen'
    adapters: nn.Module | None = None
    unused: bool = False
    quantized: bool = False


class Part(nn.Module, metaclass=BuiltInPhases):
    """A part of the model: a constructor for the architecture, :meth:`load_pretrained` for its weights.

    :mod:`lisa_mm.models.phases` says when each runs. LISA decides for all parts at once what is trained
    (:mod:`lisa_mm.models.tuning`).

    Args:
        frozen: If True, the part's own parameters get no gradient and it stays in eval mode. ``model.lora`` may still add
            adapters beside them.
    """

    # True if its weights were read from a file; None defers to the enclosing part. Frozen weights found in no file are
    # saved in every checkpoint, because they could not be rebuilt otherwise.
    from_file: bool | None = None

    def __init__(self, *, frozen: bool = False):
        super().__init__()
        self.frozen = frozen

    def load_pretrained(self) -> None:
        """Read the weights the part was given, and set ``from_file`` to True; called once, after the constructor.

        It may replace modules. Without a file, the constructor's random weights stay.
        """

    def check_pretrained(self) -> None:
        """Replaces :meth:`load_pretrained` on the meta device: compare the architecture with the files that are there."""

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        """The groups that can be trained or frozen separately, by name.

        A nested part stands for its own groups. A parameter belongs to the last group that holds it, so the whole part,
        under the name ``''``, comes first.
        """
        return {'': TrainableGroup((self,), frozen=self.frozen)}

    def without_files(self, tokenizer: str) -> dict[str, Any] | None:
        """Arguments that rebuild the part without its original files, for an exported model.

        Args:
            tokenizer: Folder of the tokenizer's and processor's files in the exported model.

        Returns:
            Changes to its config, which then has no ``pretrained``; None if the config already gives the whole architecture.
        """
        del tokenizer
        return None


@BACKBONES.set_base
class BaseBackbone(Part):
    """An encoder of pixels: the LLM's vision tower, or a mask decoder's image encoder."""

    @property
    @abstractmethod
    def out_channels(self) -> int:
        """Channels of the features."""


class BaseVisionTower(BaseBackbone):
    """A vision tower of a multimodal LLM."""

    @property
    @abstractmethod
    def preprocess(self) -> TowerImageSpec:
        """Arguments of the image processor (``size``, ``do_center_crop``, ``resample``, ``image_mean``, ``image_std``, ...)."""

    @abstractmethod
    def num_tokens(self, height: int, width: int) -> int:
        """Number of image tokens for an image of this size in pixels."""

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, N, out_channels)."""


class BaseImageEncoder(BaseBackbone):
    """The image encoder of a mask decoder.

    The constructor sets ``image_size``, the side of the square input, and ``patch_size``, the pixels that one feature covers in
    each direction.
    """

    image_size: int
    patch_size: int

    @abstractmethod
    def forward(self, pixels: Tensor) -> ImageEmbeddings:
        """(B, 3, image_size, image_size) normalised -> features (B, out_channels, image_size / patch_size, ...)."""


@PROJECTORS.set_base
class BaseProjector(Part):
    """Projects vision features to the LLM's width. Arguments ``in_channels`` and ``out_channels`` are derived."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(B, N, in_channels) -> (B, N, out_channels)."""


class LanguagePart(Part):
    """The common base of a language model and a whole multimodal LLM."""

    # If True, rows about one image come as one sequence where that is shorter: their common prefix appears once, and a mask
    # limits attention
    share_prefix: bool = False
    # The architecture written in the config, as a transformers dict; ids follow from it while the tokenizer is absent
    written: dict[str, Any] | None = None
    # Arguments of transformers' BitsAndBytesConfig if the weights are integers
    quantization: dict[str, Any] | None = None

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width of the hidden states."""

    @property
    @abstractmethod
    def tokenizer_spec(self) -> TokenizerSpec:
        """All arguments of :func:`lisa_mm.datasets.tokenizer.build_tokenizer`."""

    @abstractmethod
    def input_embeddings(self) -> nn.Module:
        """The token embeddings, with ``weight`` (V, D): ids (...) -> (..., D)."""

    @abstractmethod
    def output_embeddings(self) -> nn.Module:
        """The head that gives logits, with ``weight`` (V, D); it may share the embeddings' weight."""

    @property
    def vocab_size(self) -> int:
        """The number of embedding rows, V."""
        weight: Any = self.input_embeddings().weight
        return full_shape(weight)[0]


@LANGUAGE_MODELS.set_base
class BaseLanguageModel(LanguagePart):
    """A causal language model over embeddings."""

    @property
    def decoder(self) -> nn.Module:
        """The module whose linear layers ``model.lora`` adapts; the head never gets adapters."""
        return self

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        """Two groups: ``''`` holds the layers, ``embeddings`` the token embeddings with the head."""
        quantized = self.quantization is not None
        return {
            '': TrainableGroup((self,), frozen=self.frozen, adapters=self.decoder, quantized=quantized),
            'embeddings': TrainableGroup((self.input_embeddings(), self.output_embeddings()), frozen=self.frozen),
        }

    def embed(self, input_ids: Tensor) -> Tensor:
        """(R, L) -> (R, L, D)."""
        return self.input_embeddings()(input_ids)

    @abstractmethod
    def forward(self, embeds: Tensor, attention_mask: Tensor, keep: Tensor, *, position_ids: Tensor | None = None) -> MLLMOutput:
        """embeds (R, L, D), attention_mask (R, L), keep (T,) int64: where logits are wanted, as row * L + position.

        With ``share_prefix`` the mask is (R, 1, L, L) bool (which token sees which), and ``position_ids`` is (R, L).
        """

    @abstractmethod
    def generate(self, embeds: Tensor, attention_mask: Tensor, **options: Any) -> list[tuple[Tensor, Tensor]]:
        """Continue R rows, each to its own end.

        Args:
            embeds: (R, L, D), padded on the right.
            attention_mask: (R, L), True for tokens.
            options: Arguments of transformers' ``generate``.

        Returns:
            For each row, the new ids (new,) with its end token, and the states of all but the last token (length + new - 1, D).
        """

    def shares_answers(self, options: Iterable[str]) -> bool:
        """Whether :meth:`generate_shared` gives what :meth:`generate` gives with options of these names."""
        del options
        return False

    def generate_shared(
        self, embeds: Tensor, shared: SharedRows, lengths: Sequence[int], **options: Any
    ) -> list[tuple[Tensor, Tensor]]:
        """As :meth:`generate`, with the common prefix of the rows about an image computed and cached once.

        Args:
            embeds: (R, L, D), padded on the right.
            shared: The rows of each image joined.
            lengths: Tokens of each row.
            options: As in :meth:`generate`.
        """
        raise NotImplementedError


@MLLMS.set_base
class BaseMLLM(LanguagePart):
    """A multimodal LLM that answers in words and returns its hidden states."""

    # If True, its own processor gives the tokens of each image in a row; otherwise one number holds for all images
    tokens_by_image: bool = False
    # Keeps what encoder_features gives for an image
    feature_store: FeatureStore | None = None

    @property
    def frozen_encoder(self) -> nn.Module | None:
        """The only module whose weights :meth:`encoder_features` reads; None if the class keeps no features."""
        return None

    def encoder_features(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> what the vision tower alone gives (B, N, C); each image by itself."""
        raise NotImplementedError

    @property
    @abstractmethod
    def decoder(self) -> nn.Module:
        """The language model's layers, which ``model.lora`` adapts, without head, vision tower and projector."""

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        """As :meth:`Part.trainable_groups`; ``language_model`` and ``language_model.embeddings`` must be among them.

        A group ``vision_tower`` gets the adapters of ``model.lora.vision_tower``.
        """
        return {**super().trainable_groups(), **self.language_groups()}

    def language_groups(self) -> dict[str, TrainableGroup | Part]:
        """The language model's groups: its layers, and its token embeddings with the output head."""
        quantized = self.quantization is not None
        return {
            'language_model': TrainableGroup((self.decoder,), frozen=self.frozen, quantized=quantized),
            'language_model.embeddings': TrainableGroup((self.input_embeddings(), self.output_embeddings()), frozen=self.frozen),
        }

    def largest_image(self) -> tuple[dict[str, Tensor], int]:
        """For ``tokens_by_image``: the inputs of the image that takes the most memory, and its number of tokens.

        The memory report runs a step on them. They are on the default device, as the processor gives them (no batch axis).

        Raises:
            ConfigError: unless the class implements it.
        """
        raise ConfigError(
            f'{type(self).__name__} has tokens_by_image and does not say which image takes the most memory: write '
            'largest_image(), as its base class says, or check the config without --gpus.'
        )

    @property
    @abstractmethod
    def preprocess(self) -> ImageSpec:
        """As :attr:`BaseVisionTower.preprocess`."""

    @abstractmethod
    def num_image_tokens(self, height: int, width: int) -> int:
        """Number of image tokens for an image of this size in pixels."""

    @abstractmethod
    def embed(self, inputs: ModelInputs) -> Tensor:
        """Token embeddings with the image tokens written in, (R, L, D)."""

    @abstractmethod
    def forward(self, inputs: ModelInputs, keep: Tensor) -> MLLMOutput:
        """See :class:`ModelInputs`; keep (T,) int64: where logits are wanted, as row * L + position."""

    @abstractmethod
    def generate(self, inputs: ModelInputs, **options: object) -> list[GenerateOutput]:
        """Continue R rows, each to its own end; ``options`` are those of transformers' ``generate``."""


@SEG_HEADS.set_base
class BaseSegHead(Part):
    """Turns mask tokens' states (``[SEG]``) into prompt embeddings. Arguments ``in_channels`` and ``prompt_dim`` are derived."""

    @abstractmethod
    def forward(self, hidden_states: Tensor, input_ids: Tensor, tokens: int | Sequence[int] | PromptPositions) -> list[Tensor]:
        """hidden_states (R, L, D), input_ids (R, L) -> R tensors (K_i, prompt_dim).

        ``tokens`` are the mask tokens' ids or their positions: :meth:`PromptPositions.of` turns either into positions.
        """


@MASK_DECODERS.set_base
class BaseMaskDecoder(Part):
    """Decodes prompt embeddings and image features into masks; owns its image encoder.

    A group ``image_encoder`` in ``trainable_groups`` gets the adapters of ``model.lora.image_encoder``.

    For ``cache_features``, a class also gives :attr:`frozen_encoder` and writes ``encode_image`` as :meth:`from_features` of
    :meth:`encoder_features`.
    """

    # Keeps what encoder_features gives for an image
    feature_store: FeatureStore | None = None

    @property
    def frozen_encoder(self) -> nn.Module | None:
        """The only module whose weights :meth:`encoder_features` reads; None if the class keeps no features."""
        return None

    def encoder_features(self, pixels: Tensor) -> ImageEmbeddings:
        """(B, 3, image_size, image_size) normalised -> what the image encoder alone gives; each image by itself."""
        raise NotImplementedError

    def from_features(self, features: ImageEmbeddings) -> ImageEmbeddings:
        """The rest of ``encode_image``; by default nothing."""
        return features

    @property
    @abstractmethod
    def prompt_dim(self) -> int:
        """Width of a prompt embedding."""

    @property
    @abstractmethod
    def preprocess(self) -> MaskImageSpec:
        """``image_size`` in pixels, ``mean`` and ``std`` on 0-255, ``resize`` ('longest_side' or 'squash')."""

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> ImageEmbeddings:
        """(B, 3, image_size, image_size) normalised -> features."""

    @abstractmethod
    def forward(self, embeddings: ImageEmbeddings, prompts: list[Tensor]) -> list[Tensor]:
        """B prompts (K_i, prompt_dim) -> B low-resolution mask logits (K_i, h, w)."""

    @abstractmethod
    def upscale(self, logits: Tensor, resized_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
        """(K, h, w) -> (K, H, W) float32 at the original size."""


@LOSSES.set_base
class BaseLoss(nn.Module):
    """A loss with its weight.

    The model multiplies by the weight, logs the value, and makes sure that trained parameters which a batch does not reach get a
    gradient of zero.

    Args:
        weight: Factor that the value is multiplied by.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight < 0:
            raise ConfigError(f'{type(self).__name__}.weight is {weight}; give a factor >= 0 (0 leaves the loss out).')
        self.weight = weight

    @abstractmethod
    def forward(self, outputs: LossInputs, data_samples: list[SegDataSample]) -> Tensor:
        """The unweighted loss, a scalar.

        Args:
            outputs: The values of :meth:`LISA.tensor` (``hidden_states``, ``word_logits``, ``mask_logits`` ...), and
                ``mask_targets``: for each image (K, H, W), in the precision of the logits.
            data_samples: One per image.
        """
