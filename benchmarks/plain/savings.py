"""The savings of this package, and how to switch each off: its code is replaced by a plain piece and put back afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

from segment_anything.modeling.image_encoder import Attention

from lisa_mm.apis.image_cache import ImageCache
from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.datasets import transforms
from lisa_mm.engine import memory
from lisa_mm.evaluation.seg_iou import SegIoUMetric
from lisa_mm.models import LISA
from lisa_mm.models.backbones.sam_attention import FusedAttention
from lisa_mm.models.language_models import CausalLM
from lisa_mm.models.mask_decoders import SAMMaskDecoder
from lisa_mm.models.mllms import LlavaMLLM

from ..presets import READERS
from . import generation, pieces, readers

Off = Callable[[], AbstractContextManager[None]]


@contextmanager
def replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Give a class or module other attributes inside the ``with``."""
    own = {name: vars(owner)[name] for name in attributes if name in vars(owner)}
    for name, value in attributes.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in attributes:
            if name in own:
                setattr(owner, name, own[name])
            else:
                delattr(owner, name)


@contextmanager
def replaced_everywhere(function: Callable[..., Any], other: Callable[..., Any]) -> Iterator[None]:
    """Replace a function in every module of the package that has imported it."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.partition('.')[0] == 'lisa_mm':
                for attribute in [key for key, value in vars(module).items() if value is function]:
                    stack.enter_context(replaced(module, **{attribute: other}))
        yield


@contextmanager
def together(*managers: AbstractContextManager[None]) -> Iterator[None]:
    """Several replacements at once."""
    with ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        yield


def _one_at_a_time(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def asked(self: LISAInferencer, *args: Any, **options: Any) -> Any:
        return call(self, *args, **{**options, 'batch_size': 1})

    return asked


@dataclass(frozen=True)
class Saving:
    """Work that this package does not do and LISA's own program does.

    Args:
        says: What is saved, for the table.
        work: The kinds of work that it matters for.
        off: Switches it off inside the ``with``.
        needs: Savings without which it cannot be.
    """

    says: str
    work: tuple[str, ...]
    off: Off
    needs: tuple[str, ...] = ()


_MODEL = ('train', 'validate', 'generate', 'questions')
_ASKING = ('generate', 'questions')
SAVINGS: dict[str, Saving] = {
    'allocator': Saving(
        'freed memory is kept for the next step',
        _MODEL,
        lambda: replaced_everywhere(memory.keep_freed_memory, lambda: False),
    ),
    'shared_prefix': Saving(
        'what the rows of an image share runs once',
        ('train', 'validate'),
        partial(replaced, LlavaMLLM, share_prefix=property(lambda self: False)),
    ),
    'images_once': Saving(
        'an image is encoded once, not once per row; all images in one call',
        ('train', 'validate'),
        lambda: together(
            replaced(LlavaMLLM, embed=pieces.embed_by_row), replaced(SAMMaskDecoder, encode_image=pieces.encode_one_by_one)
        ),
    ),
    'sam_attention': Saving(
        "fused attention in SAM's image encoder", _MODEL, partial(replaced, FusedAttention, forward=Attention.forward)
    ),
    'label_logits': Saving(
        'logits only where a label is',
        ('train', 'validate'),
        partial(replaced, LISA, layout_of=pieces.layout_with_all_logits),
    ),
    'mask_decoder': Saving(
        'mask decoder: an image is projected once for its prompts, one mask of four',
        _MODEL,
        partial(replaced, SAMMaskDecoder, forward=pieces.decode_by_repeating),
    ),
    'mask_losses': Saving(
        'losses without full float maps in the graph', ('train',), partial(replaced, LISA, loss=pieces.loss_of_full_masks)
    ),
    'bits': Saving(
        'masks as bits, one map of logits at a time; pixels counted as integers',
        ('validate',),
        lambda: together(
            replaced(LISA, predict=pieces.predict_logits), replaced(SegIoUMetric, process=pieces.count_by_histogram)
        ),
    ),
    'cache': Saving(
        'keys and values are kept from token to token',
        _ASKING,
        partial(replaced, LlavaMLLM, generate=generation.generate_without_cache),
    ),
    'shared_answers': Saving(
        "a loop of our own: the last layer's states alone, and one prefix for the questions about an image",
        _ASKING,
        partial(replaced, CausalLM, shares_answers=lambda self, options: False),
        needs=('cache',),
    ),
    'batches': Saving(
        'questions in one batch',
        ('questions',),
        lambda: replaced(LISAInferencer, __call__=_one_at_a_time(LISAInferencer.__call__)),
    ),
    'remembered_image': Saving(
        "the mask decoder's image is remembered between questions",
        ('questions',),
        partial(replaced, ImageCache, encode=generation.encode_again),
    ),
    'bytes': Saving(
        'images travel as bytes and are normalised on the device',
        READERS,
        lambda: together(
            replaced(transforms.ResizeForVisionTower, transform=readers.normalised_for_tower),
            replaced(transforms.ResizeForMaskDecoder, transform=readers.normalised_for_decoder),
        ),
    ),
}


def savings_of(work: str) -> list[str]:
    """The savings that matter for a kind of work."""
    return [name for name, saving in SAVINGS.items() if work in saving.work]


@contextmanager
def only(kept: Iterable[str]) -> Iterator[None]:
    """Switch all savings off but these, inside the ``with``.

    Raises:
        ValueError: for an unknown saving.
    """
    names = set(kept)
    if not names <= set(SAVINGS):
        raise ValueError(f'unknown savings {sorted(names - set(SAVINGS))}; allowed: {", ".join(SAVINGS)}')
    with together(*(saving.off() for name, saving in SAVINGS.items() if name not in names)):
        yield
