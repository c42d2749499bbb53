"""The loop over a test set."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, autocast
from torch.utils.data import DataLoader

from lisa_mm.datasets.base import ANSWERS
from lisa_mm.errors import ConfigError
from lisa_mm.evaluation.base import JudgedMetric
from lisa_mm.evaluation.judged import judge
from lisa_mm.models import LISA
from lisa_mm.progress import progress
from lisa_mm.registry import LOOPS

from .generated_answers import generate_answers


@LOOPS.register_module()
class EvaluationLoop(TestLoop):
    """mmengine's ``TestLoop`` with a progress bar that shows the time left, and with answers of the model's own.

    Args:
        runner, dataloader, evaluator, fp16: As in mmengine.
        title: Label of the progress bar.
        answers: 'given': the answer with its ``[SEG]`` is in the prompt (as published). 'generated': the model must say it; the
            data set of ``dataloader`` is told so.
        max_new_tokens: Maximum number of tokens of a generated answer.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        *,
        title: str = 'test',
        answers: str = 'given',
        max_new_tokens: int = 512,
    ):
        if answers not in ANSWERS:
            raise ConfigError(f'EvaluationLoop.answers is {answers!r}; allowed: {", ".join(map(repr, ANSWERS))}.')
        if isinstance(dataloader, dict) and isinstance(dataloader.get('dataset'), dict) and answers != 'given':
            dataloader = {**dataloader, 'dataset': {**dataloader['dataset'], 'answers': answers}}
        super().__init__(runner, dataloader, evaluator, fp16)
        told = getattr(self.dataloader.dataset, 'answers', 'given')
        if told != answers:
            raise ConfigError(
                f'EvaluationLoop.answers is {answers!r}, but the data set {type(self.dataloader.dataset).__name__} has {told!r}: '
                'give both the same.'
            )
        self.title = title
        self.answers = answers
        metrics = self.evaluator.metrics
        # the full-size logits take 4 times the memory of masks; only a metric of somebody else's may read them
        self.binary = all(isinstance(metric, JudgedMetric) for metric in metrics)
        self.keep_masks = any(isinstance(metric, JudgedMetric) and metric.needs_masks for metric in metrics)
        self.max_new_tokens = max_new_tokens

    def run(self) -> dict[str, Any]:
        """Run the model over all batches; returns the metrics over all processes."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        batches = progress(self.dataloader, self.title, 'batch') if is_main_process() else self.dataloader
        for number, batch in enumerate(batches):
            self.run_iter(number, batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))  # pyright: ignore[reportArgumentType] - a data set with a length
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run the model over one batch."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        wrapped: Any = self.runner.model
        model: LISA = wrapped.module if is_model_wrapper(wrapped) else wrapped
        with autocast(enabled=self.fp16):
            if self.answers == 'given':
                outputs = model(**model.data_preprocessor(data_batch), mode='predict', binary=self.binary)
            else:
                outputs = generate_answers(model, data_batch, self.max_new_tokens, binary=self.binary)
        for sample in outputs:
            # once for all metrics
            sample.set_data({'judged': judge(dict(sample.all_items()), keep_masks=self.keep_masks)})
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
