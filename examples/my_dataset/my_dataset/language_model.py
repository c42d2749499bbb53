"""A recurrent language model, without transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lisa_mm.models.base import BaseLanguageModel, MLLMOutput
from lisa_mm.registry import LANGUAGE_MODELS
from lisa_mm.structures import TokenizerSpec
from lisa_mm.tokens import MASK_TOKENS


class Layers(nn.Module):
    """The layers that ``model.lora`` adapts: a GRU and the linear layer after it.

    Args:
        width: Width of embeddings and states.
        depth: Number of layers of the GRU.
    """

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.recurrence = nn.GRU(width, width, depth, batch_first=True)
        self.mix = nn.Linear(width, width)

    def forward(self, embeds: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings (R, L, D) and the memory before them -> states (R, L, D) and the memory after them."""
        states, after = self.recurrence(embeds, memory)
        return states + self.mix(states), after


@LANGUAGE_MODELS.register_module()
class RecurrentLM(BaseLanguageModel):
    """A GRU between token embeddings and a head.

    Args:
        tokenizer: A folder with the tokenizer.
        vocab_rows: Number of embedding rows: at least the tokenizer's tokens, new ones included.
        width: Width of the states.
        depth: Number of layers of the GRU.
        end_token: The id that ends an answer.
        frozen: If True, none of the part's own weights is trained.
    """

    def __init__(
        self,
        tokenizer: str,
        *,
        vocab_rows: int = 1280,
        width: int = 128,
        depth: int = 1,
        end_token: int = 2,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        self.tokenizer, self.end_token = tokenizer, end_token
        self.words = nn.Embedding(vocab_rows, width)
        self.layers = Layers(width, depth)
        self.head = nn.Linear(width, vocab_rows, bias=False)

    @property
    def hidden_size(self) -> int:
        return self.words.embedding_dim

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        return {
            'pretrained': self.tokenizer,
            'template': 'plain',
            'wrap_image': False,
            'mask_tokens': MASK_TOKENS,
            'answer_tokens': (),
        }

    @property
    def decoder(self) -> nn.Module:
        return self.layers

    def input_embeddings(self) -> nn.Module:
        return self.words

    def output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, embeds: Tensor, attention_mask: Tensor, keep: Tensor, *, position_ids: Tensor | None = None) -> MLLMOutput:
        # padding is on the right, which a recurrence reaches last, so the mask can be ignored
        states, _ = self.layers(embeds)
        return MLLMOutput(states, self.head(states.flatten(0, 1)[keep]))

    def generate(
        self, embeds: Tensor, attention_mask: Tensor, *, max_new_tokens: int = 20, **options: object
    ) -> list[tuple[Tensor, Tensor]]:
        """Generate greedily; of ``options``, only the number of tokens is used."""
        rows = []
        for row, length in zip(embeds, attention_mask.sum(1).tolist(), strict=True):
            states, memory = self.layers(row[None, :length])
            seen, new = [states], [self.head(states[:, -1]).argmax(-1)]
            while len(new) < max_new_tokens and int(new[-1]) != self.end_token:
                states, memory = self.layers(self.words(new[-1])[:, None], memory)
                seen.append(states)
                new.append(self.head(states[:, -1]).argmax(-1))
            rows.append((torch.cat(new), torch.cat(seen, dim=1)[0]))
        return rows
