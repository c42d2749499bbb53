"""One part per role with exactly the members that the README's table asks for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from lisa_mm.models import LISA
from lisa_mm.models.base import (
    BaseImageEncoder,
    BaseLanguageModel,
    BaseLoss,
    BaseMaskDecoder,
    BaseMLLM,
    BaseProjector,
    BaseSegHead,
    BaseVisionTower,
    GenerateOutput,
    ImageEmbeddings,
    MLLMOutput,
)
from lisa_mm.models.prompt_positions import PromptPositions
from lisa_mm.registry import BACKBONES, LANGUAGE_MODELS, LOSSES, MASK_DECODERS, MLLMS, MODELS, PROJECTORS, SEG_HEADS
from lisa_mm.tokens import IMAGE_TOKEN_ID, MASK_TOKENS

WIDTH, ROWS = 16, 1400


def spec():
    return dict(
        pretrained='weights://nano/tokenizer', template='plain', wrap_image=False, mask_tokens=MASK_TOKENS, answer_tokens=()
    )


class Cell(nn.Module):
    """A causal recurrence: a language model without attention, with nothing of transformers."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, embeds):
        return self.mix(self.recurrent(embeds)[0])


def continue_rows(model, embeds, attention_mask, max_new_tokens):
    """Greedy, a row at a time."""
    rows = []
    for row, length in zip(embeds, attention_mask.sum(1).tolist(), strict=True):
        known, new = row[None, :length], []
        while len(new) < max_new_tokens and (not new or new[-1] != 2):
            states = model.cell(known)
            new.append(int(model.head(states[0, -1]).argmax()))
            known = torch.cat([known, model.words(torch.tensor([[new[-1]]], device=known.device))], dim=1)
        rows.append((torch.tensor(new, device=embeds.device), model.cell(known[:, :-1])[0]))
    return rows


@LANGUAGE_MODELS.register_module()
class MinimalLanguageModel(BaseLanguageModel):
    hidden_size = WIDTH  # pyright: ignore[reportAssignmentType] - a property where it is calculated

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.words = nn.Embedding(ROWS, WIDTH)
        self.cell = Cell()
        self.head = nn.Linear(WIDTH, ROWS, bias=False)

    @property
    def tokenizer_spec(self):
        return {**spec(), 'pretrained': self.tokenizer}

    def input_embeddings(self):
        return self.words

    def output_embeddings(self):
        return self.head

    def forward(self, embeds, attention_mask, keep, *, position_ids=None):
        states = self.cell(embeds)
        return MLLMOutput(states, self.head(states.flatten(0, 1)[keep]))

    def generate(self, embeds, attention_mask, *, max_new_tokens=20, **options):
        return continue_rows(self, embeds, attention_mask, max_new_tokens)


@MLLMS.register_module()
class MinimalMLLM(BaseMLLM):
    hidden_size = WIDTH  # pyright: ignore[reportAssignmentType] - a property where it is calculated
    side = 16

    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.look = nn.Linear(3, WIDTH)
        self.words = nn.Embedding(ROWS, WIDTH)
        self.cell = Cell()
        self.head = nn.Linear(WIDTH, ROWS, bias=False)

    @property
    def tokenizer_spec(self):
        return {**spec(), 'pretrained': self.tokenizer}

    @property
    def preprocess(self):
        return preprocess(self.side)

    @property
    def decoder(self):
        return self.cell

    def input_embeddings(self):
        return self.words

    def output_embeddings(self):
        return self.head

    def num_image_tokens(self, height, width):
        return 1

    def embed(self, inputs):
        assert 'pixel_values' in inputs
        ids = inputs['input_ids']
        seen = self.look(inputs['pixel_values'].mean((2, 3)))[inputs['image_index'].clamp(min=0)]  # (R, D)
        is_image = (ids == IMAGE_TOKEN_ID)[..., None]
        return torch.where(is_image, seen[:, None], self.words(ids.masked_fill(ids == IMAGE_TOKEN_ID, 0)))

    def forward(self, inputs, keep):
        states = self.cell(self.embed(inputs))
        return MLLMOutput(states, self.head(states.flatten(0, 1)[keep]))

    def generate(self, inputs, *, max_new_tokens=20, **options):
        rows = continue_rows(self, self.embed(inputs), inputs['attention_mask'], max_new_tokens)
        lengths = inputs['attention_mask'].sum(1).tolist()
        return [
            GenerateOutput(torch.cat([ids[:length], new]), states)
            for ids, length, (new, states) in zip(inputs['input_ids'], lengths, rows, strict=True)
        ]


def preprocess(side):
    return dict(
        size={'height': side, 'width': side},
        do_center_crop=False,
        resample=3,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
    )


@BACKBONES.register_module()
class MinimalVisionTower(BaseVisionTower):
    out_channels = 8  # pyright: ignore[reportAssignmentType] - a property where it is calculated

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)

    @property
    def preprocess(self):
        return preprocess(16)

    def num_tokens(self, height, width):
        return 4

    def forward(self, pixels):
        return self.patches(pixels).flatten(2).transpose(1, 2)


@PROJECTORS.register_module()
class MinimalProjector(BaseProjector):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, features):
        return self.linear(features)


@SEG_HEADS.register_module()
class MinimalSegHead(BaseSegHead):
    def __init__(self, in_channels, prompt_dim):
        super().__init__()
        self.linear = nn.Linear(in_channels, prompt_dim)

    def forward(self, hidden_states, input_ids, tokens):
        found = PromptPositions.of(input_ids, tokens)
        return list(self.linear(hidden_states[found.row, found.position]).split(found.counts))


@BACKBONES.register_module()
class MinimalImageEncoder(BaseImageEncoder):
    out_channels = 16  # pyright: ignore[reportAssignmentType] - a property where it is calculated

    def __init__(self):
        super().__init__()
        self.image_size, self.patch_size = 32, 8
        self.patches = nn.Conv2d(3, 16, 8, stride=8)

    def forward(self, pixels):
        return ImageEmbeddings(self.patches(pixels), {})


@MASK_DECODERS.register_module()
class MinimalMaskDecoder(BaseMaskDecoder):
    prompt_dim = 16  # pyright: ignore[reportAssignmentType] - a property where it is calculated

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)

    @property
    def preprocess(self):
        return dict(image_size=32, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), resize='squash')

    def encode_image(self, pixels):
        return ImageEmbeddings(self.patches(pixels), {})

    def forward(self, embeddings, prompts):
        return [
            torch.einsum('kc,chw->khw', prompt, features) for prompt, features in zip(prompts, embeddings.features, strict=True)
        ]

    def upscale(self, logits, resized_size, original_size):
        if not len(logits):
            return logits.new_zeros((0, *original_size), dtype=torch.float32)
        return F.interpolate(logits[:, None].float(), original_size, mode='bilinear')[:, 0]


@LOSSES.register_module()
class MinimalLoss(BaseLoss):
    def forward(self, outputs, data_samples):
        return outputs['hidden_states'].float().square().mean()


@MODELS.register_module()
class MinimalLISA(LISA):
    pass
