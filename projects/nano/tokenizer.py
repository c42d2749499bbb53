"""A small byte-level tokenizer for the nano model."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from lisa_mm.datasets import prompts
from lisa_mm.errors import DataError


def write_tokenizer(folder: str | Path, jsonl: str | Path, vocab_size: int = 1200) -> int:
    """Train a tokenizer on the pretraining texts (never an implicit question) and English prose; save a Hugging Face folder.

    Args:
        folder: The folder to write.
        jsonl: Rows of the pretraining split.
        vocab_size: Size with the four special tokens, without LISA's.

    Returns:
        The size of the vocabulary.
    """
    if not Path(jsonl).is_file():
        raise DataError(f'{jsonl} is missing: make it by tools/make_demo.py data/demo --pretrain 12000.')
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ['<unk>', '<s>', '</s>', '<pad>']
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts(Path(jsonl)), trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)]),
        ]
    )
    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token='<unk>', bos_token='<s>', eos_token='</s>', pad_token='<pad>', model_max_length=512
    )
    saved.save_pretrained(folder)
    return len(saved)


def texts(jsonl: Path) -> Iterator[str]:
    """The tokenizer's training texts; English prose comes from Python's own manual."""
    with jsonl.open(encoding='utf-8') as lines:
        for number, line in enumerate(lines):
            if number >= 20000:
                break
            row = json.loads(line)
            for template in prompts.SHORT_QUESTIONS[number % 4 : number % 4 + 1]:
                yield 'USER: ' + template.format(name=row['phrase']) + ' ASSISTANT: ' if 'phrase' in row else row['question']
            yield row.get('answer') or prompts.ANSWERS[number % 5]
    yield from pydoc_data.topics.topics.values()
