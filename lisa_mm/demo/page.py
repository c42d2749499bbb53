"""The page: its controls and what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr

from ..apis.asking import check_question
from ..errors import DataError, UserError
from .answering import Model, Wanted, answer, sentence, together
from .layers import picture_of
from .limits import MEGABYTE, Limits, Upload, read_upload
from .shelf import Shelf
from .talk import Talk, Visit

GivenImage = dict[str, Any] | None  # as Gradio's image component has it: path, orig_name

FOLDER = Path(__file__).parent
TITLE = 'lisa_mm: ask an image'
WELCOME = (
    '<div class="lm-title"><h1>Ask an image</h1><p>Write what you look for, in words. Wherever an answer says '
    '<code>[SEG]</code>, the model draws a mask.</p></div>'
)
GONE = 'The server no longer has this conversation: it was idle for too long. Press "Start over", then ask again.'
STOPPED = 'Stopped. The question was left out of the conversation.'
HOURS = (600, 3600)  # seconds: how often uploads are looked at, and how old they become


def answer_view(model: str) -> gr.HTML:
    """Draws a conversation (:meth:`.talk.Talk.to_dict`) in the browser."""
    template, script = ((FOLDER / name).read_text(encoding='utf-8') for name in ('view.html', 'view.js'))
    return gr.HTML(Talk().to_dict(model), html_template=template, js_on_load=script, apply_default_css=False)


def upload_of(image: GivenImage) -> Upload | None:
    """The file that a visitor has sent, of which Gradio has checked that it is an upload or an example."""
    if image is None or not image.get('path'):
        return None
    path = Path(image['path'])
    return Upload(path, image.get('orig_name') or path.name)


class Page:
    """The page of some models.

    Args:
        models: One or more; each gets a column.
        limits: Limits of the server.
        examples: Images with a question each.
    """

    def __init__(self, models: Sequence[Model], limits: Limits, examples: Sequence[tuple[Path, str]] = ()):
        self.models, self.limits, self.examples = list(models), limits, list(examples)
        self.serials = count(1)
        self.visits: Shelf[Visit] = Shelf(limits.memory_mb * MEGABYTE)
        self.blocks = self._build()

    def _build(self) -> gr.Blocks:
        blocks = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=HOURS, fill_width=True)
        with blocks:
            gr.HTML(WELCOME)
            with gr.Row(elem_classes='lm-layout'):
                with gr.Column(elem_classes='lm-ask'):
                    image = gr.Image(
                        label='Image',
                        sources=['upload', 'clipboard'],
                        buttons=[],
                        height=210,
                        placeholder='Drop an image file here to upload',  # as its name for screen readers
                        elem_id='image',
                        alt_text='The image that questions are about',
                    )
                    question = gr.Textbox(label='Question', placeholder='the red cup', lines=1, max_lines=1, elem_id='question')
                    message = gr.HTML(_message(''), elem_id='message')
                    with gr.Row(elem_classes='lm-buttons'):
                        ask = gr.Button('Ask', variant='primary', min_width=60, elem_id='ask')
                        stop = gr.Button('Stop', interactive=False, min_width=60, elem_id='stop')
                        again = gr.Button('Start over', min_width=90, elem_id='again')
                with gr.Row(elem_classes='lm-views'):
                    views = []
                    for model in self.models:
                        with gr.Column(min_width=280):
                            views.append(answer_view(model.name))
                with gr.Column(elem_classes='lm-more'):
                    with gr.Group():
                        follow = gr.Checkbox(label='Follow-up', info='The model also reads the earlier questions and answers.')
                        raw = gr.Checkbox(
                            label='Ask exactly this', info='Otherwise a phrase is put into a question as in training.'
                        )
                        force = gr.Checkbox(label='Always answer with a mask', info='The answer may not be words alone.')
                    picks = self._examples()
            key = gr.State('', time_to_live=HOURS[1], delete_callback=self.visits.remove)

            buttons = [ask, stop]
            # Gradio would decode an image before we see it; limits and messages are ours
            unopened: dict[str, Any] = {'preprocess': False, 'api_visibility': 'private'}
            quick: dict[str, Any] = {'queue': False, 'show_progress': 'hidden'}
            asking = gr.on(
                [ask.click, question.submit],
                self.ask,
                [image, question, raw, force, follow, key],
                [message, question, key, *buttons, *views],
                concurrency_limit=self.limits.concurrency,
                show_progress='minimal',
                show_progress_on=question,
                **unopened,
            )
            stop.click(self.stop, [image, key], [message, *buttons, *views], cancels=[asking], **quick, **unopened)
            for pick, example in picks:
                pick.click(partial(_picked, *example), None, [image, question], api_visibility='private', **quick)
            for event in (again.click, image.change):
                event(self.start, [image, key], [message, key, *buttons, *views], cancels=[asking], **quick, **unopened)
        blocks.queue(max_size=self.limits.queue, api_open=False)
        blocks.state_session_capacity = 1000
        return blocks

    def _examples(self) -> list[tuple[gr.Button, tuple[Path, str]]]:
        """A button for each example."""
        if not self.examples:
            return []
        gr.HTML('<h2 class="lm-heading">Examples</h2>')
        with gr.Column(elem_classes='lm-examples'):
            return [(gr.Button(text, icon=path, size='sm'), (path, text)) for path, text in self.examples]

    def ask(
        self, image: GivenImage, question: str, raw: bool, force_seg: bool, is_follow_up: bool, key: str
    ) -> Iterator[tuple[object, ...]]:
        """Answer a question with each model; yields the new values of the page's parts."""
        same = gr.skip()
        views: list[object] = [same] * len(self.models)
        try:
            for model in self.models:
                check_question(question, model.inferencer.spec)
            wanted = self._wanted(upload_of(image), question, raw, force_seg, is_follow_up)
            visit = self.visit_of(key)
        except UserError as error:
            yield (_message(sentence(error)), same, same, *_buttons(False), *views)
            return
        key = key or self.visits.new_key()
        self.visits.put(key, visit)
        talks, serial = list(visit.talks), next(self.serials)
        yield (_message(''), '', key, *_buttons(True), *views)
        streams = [
            answer(model, one, talk, self.limits.max_new_tokens)
            for model, one, talk in zip(self.models, wanted, talks, strict=True)
        ]
        for number, talk in together(streams):
            talks[number] = talk
            views = [same] * len(self.models)
            views[number] = talk.to_dict(self.models[number].name, serial=serial)
            yield (same, same, same, same, same, *views)
        # kept when all have answered, so that Stop leaves the question out everywhere
        if not visit.is_over:
            self.visits.put(key, Visit(talks))
            yield (same, same, same, *_buttons(False), *self._shown(talks, key, serial))

    def stop(self, image: GivenImage, key: str) -> tuple[object, ...]:
        """Show the conversation as it was before a question that has been given up."""
        visit = self.visits.get(key)
        if visit is not None:
            visit.is_over = True
            self.visits.put(key, Visit(visit.talks))
        if visit is None or not any(talk.exchanges for talk in visit.talks):
            return (_message(STOPPED), *_buttons(False), *self._empty(upload_of(image))[1])
        return (_message(STOPPED), *_buttons(False), *self._shown(visit.talks, key, next(self.serials)))

    def start(self, image: GivenImage, key: str) -> tuple[object, ...]:
        """Begin a conversation about an image."""
        self._end(key)
        text, views = self._empty(upload_of(image))
        return (_message(text), '', *_buttons(False), *views)

    def _end(self, key: str) -> None:
        visit = self.visits.get(key)
        if visit is not None:
            visit.is_over = True
        self.visits.remove(key)

    def _empty(self, upload: Upload | None) -> tuple[str, list[dict[str, Any]]]:
        """What is wrong with an image, or '', and views that show it alone."""
        text, picture = '', ''
        if upload is not None:
            try:
                picture = picture_of(read_upload(upload, self.limits, _value_range(self.models[0])))
            except UserError as error:
                text = sentence(error)
        return text, [Talk(picture=picture).to_dict(model.name, serial=next(self.serials)) for model in self.models]

    def _wanted(self, upload: Upload | None, question: str, raw: bool, force_seg: bool, is_follow_up: bool) -> list[Wanted]:
        """The question for each model; models that read images in the same way share the pixels."""
        ranges = [_value_range(model) for model in self.models]
        images = {value_range: read_upload(upload, self.limits, value_range) for value_range in dict.fromkeys(ranges)}
        name = upload.name if upload else ''
        return [Wanted(images[value_range], name, question.strip(), raw, force_seg, is_follow_up) for value_range in ranges]

    def visit_of(self, key: str) -> Visit:
        """A visitor's conversations, or new ones where there is no key yet.

        Raises:
            DataError: if they have been removed.
        """
        visit = self.visits.get(key) if key else Visit([Talk() for _ in self.models])
        if visit is None:
            raise DataError(GONE)
        return visit

    def _shown(self, talks: Sequence[Talk], key: str, serial: int) -> list[dict[str, Any]]:
        names = [model.name for model in self.models]
        return [
            talk.to_dict(name, f'download/{key}/{number}', serial)
            for number, (name, talk) in enumerate(zip(names, talks, strict=True))
        ]


def _picked(path: Path, text: str) -> tuple[str, str]:
    return str(path), text


def _value_range(model: Model) -> tuple[float, float] | None:
    return getattr(model.inferencer.load, 'value_range', None)


def _message(text: str) -> str:
    return f'<div role="alert" class="lm-message">{escape(text)}</div>'


def _buttons(is_busy: bool) -> tuple[object, object]:
    """Ask and Stop."""
    return gr.update(interactive=not is_busy), gr.update(interactive=is_busy)


def read_examples(folder: Path) -> list[tuple[Path, str]]:
    """The examples of a model folder: ``example.json`` has ``image``, a file beside it, and ``questions``."""
    path = folder / 'example.json'
    if not path.is_file():
        return []
    found = json.loads(path.read_text(encoding='utf-8'))
    return [(folder / found['image'], question) for question in found['questions']]
