"""The loop over a test set."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop
from torch.utils.data import DataLoader

from lisa_mm.progress import progress
from lisa_mm.registry import LOOPS


@LOOPS.register_module()
class EvaluationLoop(TestLoop):
    """mmengine's ``TestLoop`` with a progress bar that shows the time left.

    Args:
        runner, dataloader, evaluator, fp16: As in mmengine.
        title: Label of the progress bar.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        *,
        title: str = 'test',
    ):
        super().__init__(runner, dataloader, evaluator, fp16)
        self.title = title

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
