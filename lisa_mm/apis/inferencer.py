"""Ask images questions, one or thousands."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageShow
from torch import Tensor

from ..datasets.conversation import Turn, said_text, stop_ids
from ..datasets.tokenizer import check_tokens
from ..datasets.transforms import LoadImage
from ..errors import ConfigError, UserError
from ..models import LISA
from ..models.base import GenerateOutput, ImageEmbeddings
from ..models.decoding import AnswerOptions, RowLimits, RowRules
from ..progress import progress
from ..structures import SegDataSample
from .answers import Answer
from .asking import check_batch_size
from .image_cache import ImageCache
from .loading import ReadyModel, prepare_model, resolve
from .pairing import pair
from .preparing import Batch, Prepared, Preparer, join
from .requests import ImageSource, Request
from .saving import check_labels, save_answer, save_labels
from .watching import Listeners, Watcher, excerpt


class LISAInferencer:
    """Answers questions about images with a model in eval mode, in the manner of mmengine's inferencers.

    One image and one question give an :class:`.answers.Answer`, lists give a list. Each image of a batch goes through vision
    tower and mask decoder once, and the beginning that the questions about an image share is computed once. The answers are
    those that each question gets alone.

    Args:
        model: A work folder, an exported folder, a config, or the name of a shipped model such as 'lisa_nano'; what
            :func:`.loading.prepare_model` gave; or a model in memory, which is set to eval mode.
        weights: A checkpoint; needed with a config.
        device: Device of the model; by default 'cuda' if available.
        dtype: 'float32', 'bfloat16' (half the memory; the original's default) or 'float16'.
        remember: Number of encoded images kept for further questions.
        show_progress: Show a progress bar where there are several batches.

    Example::

        inferencer = LISAInferencer('lisa_nano')
        answer = inferencer('street.jpg', 'the red cup')
        answers = inferencer('photos/', 'the red cup', batch_size=8, out_dir='answers')
    """

    def __init__(
        self,
        model: str | Path | ReadyModel | LISA,
        weights: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: str = 'float32',
        remember: int = 1,
        show_progress: bool = True,
    ):
        if isinstance(model, LISA):
            self.model, self.load = model.eval(), LoadImage()
        else:
            ready = (
                model if isinstance(model, ReadyModel) else prepare_model(*resolve(model, weights), device=device, dtype=dtype)
            )
            self.model, self.load = ready.load(), ready.image_loader()
        self.device = next(self.model.parameters()).device
        self.show_progress = show_progress
        self.preparer = Preparer(self.model, self.load)
        self.spec, self.tokenizer = self.preparer.spec, self.preparer.tokenizer
        self.stops = stop_ids(self.spec['template'], self.tokenizer)
        self.embeddings = ImageCache(self.model.mask_decoder, remember)
        self._said = check_tokens(self.spec['mask_tokens'], self.spec['answer_tokens'])
        self._lock = threading.Lock()

    def __call__(
        self,
        images: ImageSource | Sequence[ImageSource],
        questions: str | Sequence[str],
        *,
        history: Sequence[Turn] | None = None,
        raw: bool = False,
        max_new_tokens: int = 64,
        force_seg: bool = False,
        no_text: bool = False,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        batch_size: int = 8,
        show: bool = False,
        out_dir: str | Path | None = None,
        labels: str | None = None,
        return_datasamples: bool = False,
        **options: object,
    ) -> Any:
        """Answer questions.

        Args:
            images: A file, a folder, an http(s) address, an image of Pillow, (H, W, 3) uint8 RGB, or a list of these.
            questions: A question, or a list. Lists of images and questions of equal length are paired; a single image or
                question is used for all.
            history: Earlier questions and answers about the image.
            raw: Ask as it is written; otherwise phrases and sentences are put into the recipe's strings, see
                :func:`lisa_mm.datasets.prompts.request_mask`. ``Answer.asked`` says what was asked.
            max_new_tokens, force_seg, no_text, temperature, top_p, top_k, seed: See
                :class:`lisa_mm.models.decoding.AnswerOptions`.
            batch_size: Number of questions answered at once.
            show: Show each answer in the system's image viewer: overlay, question, text and legend.
            out_dir: Folder for masks and overlays; for a single answer also its page, as ``show`` shows it.
            labels: 'coco', 'labelme', 'reasonseg' or 'jsonl': write such labels into ``<out_dir>/<labels>`` too.
            return_datasamples: Return :class:`lisa_mm.structures.SegDataSample` with ``answers`` and ``mask_logits``.
            options: Further arguments of transformers' ``generate``.

        Raises:
            DataError: for a question that is empty or holds tokens of the model's, an unreadable image or another array.
        """
        how = AnswerOptions(max_new_tokens, force_seg, no_text, temperature, top_p, top_k, seed)
        pairs, alone = pair(images, questions)
        if labels is not None:
            check_labels(labels, out_dir, [image for image, _ in pairs])
        requests = [Request(image, question, history or (), raw, how) for image, question in pairs]
        answers = []
        for answer in self.answers(requests, batch_size=batch_size, **options):
            self.visualize([answer], show=show, out_dir=out_dir, page=alone)
            answers.append(answer)
        if labels is not None:
            save_labels(answers, labels, Path(out_dir or '') / labels)
        found = self.postprocess(answers, return_datasamples=return_datasamples)
        return found[0] if alone else found

    def answers(self, requests: Iterable[Request], *, batch_size: int = 8, **options: Any) -> Iterator[Answer]:
        """Answer any number of requests, in order, while the next ones are prepared.

        Args:
            requests: The requests; those about one image should follow each other.
            batch_size: Number of questions answered at once.
            options: Further arguments of transformers' ``generate``.
        """
        total = None
        if isinstance(requests, Sequence):
            total = -(-len(requests) // check_batch_size(batch_size))
        batches = self.preprocess(requests, batch_size)
        if self.show_progress and (total is None or total > 1):
            batches = progress(batches, 'answering', 'batch', total=total)
        for batch in batches:
            yield from self.forward(batch, **options)

    def preprocess(self, requests: Iterable[Request], batch_size: int = 8) -> Iterator[list[Prepared]]:
        """Yield prepared batches; the next one is prepared by a thread meanwhile."""
        waiting = iter(requests)
        check_batch_size(batch_size)

        def some() -> list[Prepared]:
            return [self.preparer.prepare(request) for request in islice(waiting, batch_size)]

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(some)
            while batch := coming.result():
                coming = pool.submit(some)
                yield batch

    def forward(self, batch: Sequence[Prepared], *, listeners: Listeners | None = None, **options: Any) -> list[Answer]:
        """Answer a batch.

        Args:
            batch: Prepared requests.
            listeners: What is called while it is answered.
            options: Further arguments of transformers' ``generate``.

        Returns:
            An answer for each request, in order.
        """
        with self._lock:
            return self._forward(join(batch, int(self.tokenizer.pad_token_id)), listeners or Listeners(), options)  # pyright: ignore[reportArgumentType] - a tokenizer's pad token is one

    def _forward(self, batch: Batch, listeners: Listeners, options: dict[str, Any]) -> list[Answer]:
        data = self.model.data_preprocessor({'inputs': batch.inputs, 'data_samples': batch.samples})
        inputs, keys = data['inputs'], [image.key for image in batch.images]

        def encode(pixels: Tensor, numbers: list[int]) -> ImageEmbeddings:
            return self.embeddings.encode(pixels, [keys[number] for number in numbers])

        # How each row is answered
        wanted = [row.request.options for row in batch.rows]
        predicting = getattr(self.model.seg_head, 'state', None) == 'predicting'
        limits = [(1 if predicting else 2) if how.no_text else how.max_new_tokens for how in wanted]
        if not all(how.is_free for how in wanted):
            options['logits_processor'] = [RowRules(wanted, self.model.mask_token_ids, self.stops)]
        cancelled = listeners.is_cancelled
        if len(set(limits)) > 1 or cancelled is not None:
            is_cancelled = None if cancelled is None else lambda row: cancelled(batch.places[row])
            options['stopping_criteria'] = [RowLimits(limits, is_cancelled)]
        if listeners.text is not None or listeners.mask is not None:

            def mask_of(row: int, states: Tensor, ids: Tensor) -> Tensor:
                number = int(batch.inputs['image_index'][row])
                prompts = self.model.seg_head(*excerpt(states, ids), self.model.mask_token_ids)[0]
                embeddings = encode(inputs['mask_images'][number : number + 1], [number])
                sample = batch.samples[number]
                logits = self.model.mask_decoder(embeddings, [prompts[-1:]])[0]
                return self.model.mask_decoder.upscale(logits, sample.resized_size, sample.original_size)[0]

            options['watch'] = Watcher(
                batch.places,
                listeners,
                stops=self.stops,
                limits=limits,
                mask_tokens=self.model.mask_token_ids,
                decode=self._text,
                mask_of=torch.no_grad()(mask_of) if predicting else None,
            )

        answered = self.model.generate(
            inputs,
            batch.samples,
            encode=encode,
            max_new_tokens=max(limits),
            eos_token_id=self.stops,
            pad_token_id=self.tokenizer.pad_token_id,
            **options,
        )

        # Each request's part of its image's masks
        found: dict[int, Answer] = {}
        at = [0] * len(batch.images)
        outputs = [iter(sample.generated) for sample in answered]
        for row, (prepared, place) in enumerate(zip(batch.rows, batch.places, strict=True)):
            number = int(batch.inputs['image_index'][row])
            output = next(outputs[number])
            is_mask = torch.isin(output.ids, torch.tensor(self.model.mask_token_ids, device=output.ids.device))
            count = int(is_mask.sum())
            logits = answered[number].mask_logits[at[number] : at[number] + count]
            at[number] += count
            unwanted = cancelled is not None and cancelled(place)
            found[place] = self._answer(prepared, output, is_mask, logits, limits[row], unwanted)
        return [found[place] for place in range(len(found))]

    def _answer(
        self, prepared: Prepared, output: GenerateOutput, is_mask: Tensor, logits: Tensor, limit: int, unwanted: bool
    ) -> Answer:
        new, how = output.ids[len(prepared.ids) :][:limit].tolist(), prepared.request.options
        own = int(is_mask[len(prepared.ids) :].sum())
        if (how.force_seg or how.no_text) and not own and not unwanted:
            raise ConfigError(
                f'force_seg and no_text need a language model whose generate() applies logits_processor; '
                f'{type(self.model.mllm).__name__} gave an answer without {self.spec["mask_tokens"][0]}. Leave them out.'
            )
        return Answer(
            text=self._text(new),
            masks=(logits > 0).cpu().numpy(),
            mask_logits=logits.cpu().numpy(),
            seg_logits=self._seg_logits(output, is_mask),
            question=prepared.request.question,
            asked=prepared.asked,
            earlier=len(logits) - own,
            image=prepared.image.results['img'],
            name=str(prepared.image.results['img_path']),
            mask_tokens=self.spec['mask_tokens'],
            cut=len(new) >= how.max_new_tokens and new[-1] not in self.stops and not how.no_text,
            new_tokens=len(new),
        )

    @torch.no_grad()
    def _seg_logits(self, output: GenerateOutput, is_mask: Tensor) -> np.ndarray:
        """(K,) float32: what the language model's head gave each mask token where it was said."""
        places = is_mask.nonzero()[:, 0]
        if not len(places):
            return np.zeros(0, np.float32)
        logits = self.model.mllm.output_embeddings()(output.hidden_states[places - 1])
        return logits.gather(1, output.ids[places, None])[:, 0].float().cpu().numpy()

    def stream(
        self,
        image: ImageSource,
        question: str,
        *,
        history: Sequence[Turn] | None = None,
        raw: bool = False,
        **how: Any,
    ) -> Iterator[str | tuple[int, Tensor] | Answer]:
        """Answer one question bit by bit.

        Args:
            image, question, history, raw: As in :meth:`__call__`.
            how: Fields of :class:`lisa_mm.models.decoding.AnswerOptions`.

        Yields:
            Pieces of text; (index, logits (H, W)) as each ``[SEG]`` is said; last the whole :class:`.answers.Answer`.
            Closing the generator ends the answer at its next token.
        """
        from .streaming import follow

        prepared = self.preparer.prepare(Request(image, question, history or (), raw, AnswerOptions(**how)))
        yield from follow(lambda listeners: self.forward([prepared], listeners=listeners)[0])

    def visualize(
        self, answers: Sequence[Answer], *, show: bool = False, out_dir: str | Path | None = None, page: bool = False
    ) -> list[np.ndarray]:
        """Save answers with their masks and overlays, show their pages; returns the pages shown, (H', W', 3) uint8."""
        drawn = []
        for answer in answers:
            if out_dir is not None:
                save_answer(answer, out_dir, page=page)
            if show:
                drawn.append(answer.page())
                if not ImageShow.show(Image.fromarray(drawn[-1])):
                    raise UserError(
                        'show=True: no program that shows images was found here. Give out_dir=FOLDER and open the files.'
                    )
        return drawn

    def postprocess(self, answers: Sequence[Answer], *, return_datasamples: bool = False) -> list[Any]:
        """The answers, or data samples with ``answers`` and ``mask_logits``."""
        if not return_datasamples:
            return list(answers)
        samples = []
        for answer in answers:
            size = answer.masks.shape[1:]
            sample = SegDataSample(
                metainfo={
                    'sample_id': answer.name,
                    'img_path': answer.name or None,
                    'original_size': size,
                    'conversations': [[answer.turn]],
                }
            )
            sample.set_data({'mask_logits': torch.from_numpy(answer.mask_logits), 'answers': [answer.text]})
            samples.append(sample)
        return samples

    def _text(self, ids: Sequence[int]) -> str:
        """Words, mask tokens and other answer tokens, without further special tokens."""
        return said_text(ids, self.tokenizer, self._said)
