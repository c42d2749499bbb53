"""Allocations of a micro-batch between its start and the gradient of each parameter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..datasets.collate import seg_collate
from ..models.language_models.quantization import bytes_saved
from .batch import BatchShape, sample_item
from .shapes import LiveStorages, on_shapes, run_backward

if TYPE_CHECKING:
    from ..models.base import BaseMLLM
    from ..models.lisa import LISA


@dataclass(frozen=True)
class Gradient:
    """The moment when a parameter's gradient is complete.

    Args:
        parameter: Its index among the trained parameters.
        peak: Maximum bytes of activations, temporaries and this gradient since the previous gradient.
        live: Bytes of these alive now, including this gradient.
    """

    parameter: int
    peak: int
    live: int


@dataclass(frozen=True)
class Trace:
    """Bytes of activations and temporaries over a micro-batch, without parameters; gradients leave at once.

    Args:
        trained: Elements of each trained parameter, in the model's order.
        frozen: Elements of each frozen parameter.
        parameter_bytes: Bytes per element (4, or 2 in half precision).
        buffers: Bytes of the model's buffers.
        inputs: Bytes of the batch.
        encoder: Peak within the mask decoder's image encoder.
        vision: Peak within the language model's vision side.
        held: Bytes of activations that forward keeps for backward, inputs included.
        forward_peak: Peak of the forward.
        gradients: Gradients in the order of backward.
        end_peak: Peak after the last gradient.
        quantized: Bytes that quantised frozen weights save compared with ``parameter_bytes``.
    """

    trained: tuple[int, ...]
    frozen: tuple[int, ...]
    parameter_bytes: int
    buffers: int
    inputs: int
    encoder: int
    vision: int
    held: int
    forward_peak: int
    gradients: tuple[Gradient, ...]
    end_peak: int
    quantized: int = 0

    @property
    def peak(self) -> int:
        """Peak of activations and temporaries, apart from gradients."""
        return max([self.forward_peak, self.end_peak, *(gradient.peak for gradient in self.gradients)])


def trace_step(model: LISA, shape: BatchShape, *, half: bool, device: str) -> Trace:
    """Run a micro-batch's forward and backward on shapes.

    Args:
        model: A LISA on the meta device; ``half`` leaves its parameters in bfloat16.
        shape: Shape of the batch.
        half: Cast to half precision, as DeepSpeed does for bf16 and fp16.
        device: 'cpu' or 'cuda': whose attention kernels to use.
    """
    if half:
        model.bfloat16()
    model.train()
    storages = LiveStorages()
    parameters = list(model.parameters())
    for tensor in [*parameters, *model.buffers()]:
        storages.overlook(tensor)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    place = {id(parameter): number for number, parameter in enumerate(trained)}
    gradients: list[Gradient] = []

    def on_gradient(parameter: torch.Tensor) -> None:
        gradients.append(Gradient(place[id(parameter)], storages.take_peak(), storages.live))
        parameter.grad = None

    handles = [parameter.register_post_accumulate_grad_hook(on_gradient) for parameter in trained]
    with torch.device('meta'):
        items = [sample_item(model, shape, index) for index in range(shape.images)]
    try:
        with on_shapes(storages, device):
            with (
                _noted(model.mask_decoder, 'encode_image', storages) as encoder,
                _noted(model.mllm, _vision_method(model.mllm), storages) as vision,
            ):
                data = model.data_preprocessor(seg_collate(items), True)
                items.clear()
                inputs = storages.live
                loss, _ = model.parse_losses(model(**data, mode='loss'))
            held, forward_peak = storages.live, storages.take_peak()
            run_backward(loss)
            end_peak = storages.take_peak()
    finally:
        for handle in handles:
            handle.remove()
    return Trace(
        trained=tuple(parameter.numel() for parameter in trained),
        frozen=tuple(parameter.numel() for parameter in parameters if not parameter.requires_grad),
        parameter_bytes=2 if half else 4,
        buffers=sum(buffer.nbytes for buffer in model.buffers()),
        inputs=inputs,
        encoder=max(encoder, default=0),
        vision=max(vision, default=0),
        held=held,
        forward_peak=forward_peak,
        gradients=tuple(gradients),
        end_peak=end_peak,
        quantized=_bytes_saved(model.mllm, 2 if half else 4),
    )


def _bytes_saved(mllm: BaseMLLM, element: int) -> int:
    return bytes_saved(mllm.decoder, mllm.quantization, element) if mllm.quantization is not None else 0


def _vision_method(mllm: BaseMLLM) -> str:
    return 'encode_images' if hasattr(mllm, 'encode_images') else 'encode_image'


@contextmanager
def _noted(owner: object, name: str, storages: LiveStorages) -> Iterator[list[int]]:
    """A list that receives the peak of each call of an object's method; it stays empty without that method."""
    tops: list[int] = []
    method = getattr(owner, name, None)
    if method is None:
        yield tops
        return

    def noted(*args: object, **kwargs: object) -> Any:
        with storages.watch() as top:
            out = method(*args, **kwargs)
        tops.extend(top)
        return out

    object.__setattr__(owner, name, noted)
    try:
        yield tops
    finally:
        owner.__dict__.pop(name)
