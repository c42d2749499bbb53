"""Similarities of phrases by hand, and of a tiny encoder against its own states."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from lisa_mm.errors import ConfigError
from lisa_mm.evaluation.text_similarity import EncoderSimilarity, TokenF1
from lisa_mm.registry import TEXT_SIMILARITIES


@pytest.mark.parametrize(
    ('first', 'second', 'value'),
    [
        ('red cup', 'red cup', 1),
        ('The red cup!', 'a Red Cup', 1),  # case, articles and punctuation count for nothing
        ('red cup', 'cup of tea', 0.4),  # one word of 2 and of 3: 2 * 1 / 5
        ('two two', 'two', 2 / 3),  # a word counts as often as it stands there
        ('dog', 'cat', 0),
        ('', 'cat', 0),
        ('the', '', 1),
    ],
)
def test_words_in_common(first, second, value):
    assert TokenF1()(first, second) == pytest.approx(value)
    assert TokenF1()(second, first) == pytest.approx(value)


@pytest.fixture(scope='module')
def encoder(tmp_path_factory):
    """The folder of a text encoder with random weights that knows five words."""
    folder = tmp_path_factory.mktemp('encoder')
    vocabulary = {word: number for number, word in enumerate(['[PAD]', '[UNK]', 'red', 'cup', 'dog', 'big'])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token='[UNK]'))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token='[UNK]', pad_token='[PAD]').save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {'hidden_size': 16, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'intermediate_size': 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return folder


def test_an_encoder(encoder):
    """The cosine of mean last states; ids by hand."""
    similarity = TEXT_SIMILARITIES.build({'type': 'EncoderSimilarity', 'path': str(encoder)})
    model = BertModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        one, other = (model(torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in ([2, 3], [5, 4, 1]))
    expected = float(one @ other / one.norm() / other.norm())
    assert similarity('red cup', 'big dog house') == pytest.approx(expected, abs=1e-6)
    assert similarity('red cup', 'red cup') == pytest.approx(1, abs=1e-6)


def test_a_folder_without_an_encoder(tmp_path):
    with pytest.raises(ConfigError, match='holds no text encoder with a tokenizer'):
        EncoderSimilarity(str(tmp_path))


def test_an_unknown_name():
    with pytest.raises(ConfigError, match=r"'TokenF2' is no registered text similarity\. Did you mean 'TokenF1'"):
        TEXT_SIMILARITIES.build({'type': 'TokenF2'})
