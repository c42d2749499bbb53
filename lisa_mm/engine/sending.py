"""Give all processes the same weights without writing where they are equal."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from torch import nn


def send_weights(module: nn.Module) -> None:
    """Give all processes the first one's parameters and buffers, tensor by tensor; all processes must call it.

    Where a process has them already, as after reading the same files, nothing is written: a mapped file stays mapped.

    Args:
        module: On the CPU, with the same names and shapes on all processes.
    """
    if get_world_size() == 1:
        return
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            sent = tensor.detach().clone(memory_format=torch.contiguous_format)
            torch.distributed.broadcast(sent.reshape(-1).view(torch.uint8), 0)  # gloo has not every dtype
            if not torch.equal(sent, tensor):
                tensor.copy_(sent)
