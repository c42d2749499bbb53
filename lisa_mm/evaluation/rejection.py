"""Whether a model says that nothing is there: N-acc and T-acc of gRefCOCO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from ..datasets.tokenizer import count_masks
from ..errors import ConfigError
from ..registry import METRICS
from ..tokens import IGNORED, MASK_TOKENS

Judged = list[tuple[bool, bool]]  # of each question of an image: whether its target is empty, whether the answer says so


@METRICS.register_module()
class RejectionMetric(BaseMetric):
    """N-acc and T-acc of generated answers (GRES, CVPR 2023; GSVA, CVPR 2024).

    An answer says "nothing" if it holds the rejection's token, or no mask token. N-acc: the share of questions with an empty
    target that are answered so. T-acc: the share of the other questions that are not. A target is empty if no pixel is 1; pixels
    with 255 are left out. ReLA's program takes a mask of fewer than 50 pixels for "nothing"; GSVA's and this one do not.

    Every question that has a target in the data set counts, others (answered by text alone) do not. A score over no question is
    left out of the results; ``num_empty`` and ``num_targets`` say over how many each is.

    Args:
        rejection: Answer token that says "nothing".
        mask_tokens: Answer tokens that ask for a mask.
        collect_device: 'cpu' or 'gpu', where results of all ranks are gathered.
        prefix: Prefix of the names in the log.
    """

    def __init__(
        self,
        rejection: str = '[REJ]',
        *,
        mask_tokens: list[str] | tuple[str, ...] = MASK_TOKENS,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.rejection = rejection
        self.mask_tokens = tuple(mask_tokens)

    def process(self, data_batch: object, data_samples: Sequence[Any]) -> None:
        """Judge data samples (or their dicts) with ``answers``, ``conversations`` and ``gt_masks`` (K, H, W).

        Raises:
            ConfigError: for answers that were given in the prompt.
        """
        del data_batch  # the samples hold everything
        for sample in data_samples:
            fields = sample if isinstance(sample, dict) else dict(sample.all_items())
            if 'answers' not in fields:
                raise ConfigError(
                    'RejectionMetric judges what the model says, but the answers were in the prompt. Evaluate with '
                    "answers='generated'."
                )
            # one entry per image, see SegIoUMetric
            self.results.append(self._judge(fields))

    def _judge(self, fields: dict[str, Any]) -> Judged:
        judged: Judged = []
        place = 0
        for turns, answer in zip(fields['conversations'], fields['answers'], strict=True):
            counts = [count_masks(question + (given or ''), self.mask_tokens) for question, given in turns]
            place += sum(counts)
            if counts[-1]:
                target = fields['gt_masks'][place - 1]
                is_empty = not bool(((target > 0) & (target != IGNORED)).any())
                says_nothing = self.rejection in answer or not count_masks(answer, self.mask_tokens)
                judged.append((is_empty, says_nothing))
        return judged

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """N-acc and T-acc, as far as there are such questions, and the number of each."""
        judged = [pair for image in results for pair in image]
        on_empty = [says_nothing for is_empty, says_nothing in judged if is_empty]
        on_targets = [not says_nothing for is_empty, says_nothing in judged if not is_empty]
        found = {'num_empty': float(len(on_empty)), 'num_targets': float(len(on_targets))}
        for name, right in (('N-acc', on_empty), ('T-acc', on_targets)):
            if right:
                found[name] = sum(right) / len(right)
        return found
