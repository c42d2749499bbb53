"""Train only the new tokens' rows of the token embeddings and the output head.

The matrices stay frozen and whole, so no gradient or optimizer state has their size: a small parameter ``new_rows``
is kept beside the weight, and its rows replace the matrix's rows in the result. Tied matrices share it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ..sharding import full_shape, gathered, is_sharded_parameter

NEW_ROWS = 'new_rows'  # the value of model.train_embeddings, and the parameter's name


class Matrix(nn.Module):
    """What type checkers see of token embeddings or an output head, with trainable rows or without."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    new_rows: nn.Parameter
    new_row_ids: Tensor
    from_file: bool | None


def add_rows(model: PreTrainedModel, vocab_size: int) -> None:
    """Add rows for new tokens to embeddings and head; a vocabulary that is already padded keeps its size.

    Args:
        model: A Hugging Face model with an output head.
        vocab_size: Number of tokens of the tokenizer, new ones included.
    """

    def matrices() -> tuple[Matrix, Matrix]:
        return cast(tuple[Matrix, Matrix], (model.get_input_embeddings(), model.get_output_embeddings()))

    old = matrices()[0].weight
    if vocab_size <= full_shape(old)[0]:
        return
    if old.is_cuda and not is_sharded_parameter(old):
        for matrix in matrices():
            matrix.cpu()  # whose generator draws the new rows, wherever the model lies
    # the new rows are the mean of the old ones plus noise; the covariance needs float32 on a real device
    model.resize_token_embeddings(vocab_size, mean_resizing=not old.is_meta)
    for matrix in matrices():  # the head is another module now
        matrix.from_file = False  # no file holds these rows: checkpoints must, if they stay frozen


def matrices_to_grow(architecture: PretrainedConfig, vocab_size: int | None) -> Callable[[str, Tensor], bool]:
    """Tells the parameters that :func:`add_rows` will need in float32: embeddings and head, if rows are to be added.

    Args:
        architecture: Of the file.
        vocab_size: Number of rows with the new ones; None adds none.
    """
    rows = architecture.get_text_config().vocab_size
    grows = vocab_size is not None and vocab_size > rows
    return lambda name, parameter: grows and parameter.shape[0] == rows


def add_new_rows(embeddings: nn.Module, head: nn.Module, token_ids: list[int]) -> None:
    """Give a language model's embeddings and head trainable rows for some tokens; its outputs stay the same.

    Args:
        embeddings: Module with ``weight`` (V, D) that maps ids to states; changed in place.
        head: Module with ``weight`` (V, D) and perhaps ``bias`` (V,) that maps states to logits; changed in place.
        token_ids: Ids of the tokens.
    """
    embeddings, head = cast(Matrix, embeddings), cast(Matrix, head)
    tied = head.weight is embeddings.weight
    _register(embeddings, token_ids, None)
    embeddings.register_forward_hook(_put_embeddings)
    _register(head, token_ids, embeddings.new_rows if tied else None)
    head.register_forward_hook(_put_logits)


def has_new_rows(module: nn.Module) -> TypeGuard[Matrix]:
    """Whether a module is a matrix with trainable rows."""
    return isinstance(getattr(module, NEW_ROWS, None), nn.Parameter)


def merge_new_rows(module: Matrix, weight: Tensor) -> Tensor:
    """The whole matrix (V, D) as trained."""
    rows = module.new_rows.detach().to(weight.dtype)
    return weight.detach().index_copy(0, module.new_row_ids, rows)


def read_new_rows(module: Matrix) -> None:
    """Copy the rows from the matrix again after it was loaded; all processes must call it."""
    with torch.no_grad(), gathered(module.weight) as weight, gathered(module.new_rows, modify=True) as rows:
        rows.copy_(weight[module.new_row_ids])


def _register(matrix: Matrix, token_ids: list[int], shared: nn.Parameter | None) -> None:
    # the matrix's own rows of these tokens are never used again: 0, because random values would differ from run to run
    with torch.no_grad(), gathered(matrix.weight, modify=True) as weight:
        rows = nn.Parameter(weight[token_ids].clone()) if shared is None else shared
        weight[token_ids] = 0
        ids = torch.tensor(token_ids, device=weight.device)
    matrix.from_file = None  # like the rest of the language model
    matrix.register_parameter(NEW_ROWS, rows)
    matrix.register_buffer('new_row_ids', ids, persistent=False)


def _put_embeddings(matrix: Matrix, args: tuple[Any, ...], embeds: Tensor) -> Tensor:
    """Embeddings (..., D) of ids (...)."""
    is_new = args[0][..., None] == matrix.new_row_ids  # (..., n)
    rows = matrix.new_rows
    scale = getattr(matrix, 'embed_scale', None)  # Gemma
    if scale is not None:
        rows = rows * (scale.to(rows.dtype) if isinstance(scale, Tensor) else scale)
    return torch.where(is_new.any(-1, keepdim=True), is_new.to(rows.dtype) @ rows, embeds)


def _put_logits(matrix: Matrix, args: tuple[Any, ...], logits: Tensor) -> Tensor:
    """Logits (..., V) of states (..., D)."""
    bias = getattr(matrix, 'bias', None)
    bias = None if bias is None else bias[matrix.new_row_ids]
    return logits.index_copy(-1, matrix.new_row_ids, F.linear(args[0], matrix.new_rows, bias))
