"""The web demo, as visitors use it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from pycocotools import mask as coco

from .actions import (
    ask,
    color_of,
    download,
    picture_of,
    place_in,
    slide,
    upload,
    wait_for_drawing,
    wait_for_masks,
)
from .conftest import DESKTOP, EXAMPLE, PHONE, Demo

Visit = Callable[..., Page]
FIRST, SECOND = 'the purple clock', 'the red boat'


def assert_fits(page: Page, size: tuple[int, int]) -> None:
    """Nothing is wider than the window, and no control lies outside it."""
    assert page.evaluate('document.documentElement.scrollWidth') <= size[0]
    for control in page.locator('button:visible, input:visible:not([type=file]), textarea:visible, a:visible').all():
        box = control.bounding_box()
        assert box is not None
        assert box['x'] >= 0 and box['x'] + box['width'] <= size[0] + 0.5, control.evaluate('node => node.outerHTML')


@pytest.mark.parametrize('size', [DESKTOP, PHONE], ids=['desktop', 'phone'])
def test_from_upload_to_download(visit: Visit, demo: Demo, size: tuple[int, int]) -> None:
    page = visit(demo, size)
    assert_fits(page, size)
    upload(page, EXAMPLE)
    expect(page.locator('canvas')).to_be_visible()
    before = picture_of(page)

    # Question -> answer
    ask(page, FIRST, masks=1)
    wanted = demo.inferencer(EXAMPLE, FIRST)
    expect(page.locator('.lm-answer')).to_have_text(wanted.text.replace('[SEG]', '[SEG] 1'))
    expect(page.locator('.lm-asked')).to_have_text(f'Asked as: {wanted.asked}')
    entry = page.locator('.lm-entry')
    expect(entry.locator('.lm-score')).to_have_text(f'score {wanted.scores[0]:.2f}')
    expect(entry.locator('.lm-area')).to_have_text(f'area {100 * wanted.masks[0].mean():.1f} %')
    assert_fits(page, size)

    # The mask, its token and its entry have one colour, which is seen in the picture alone where the mask is
    color = color_of(page.locator('.lm-chip'))
    assert color == color_of(page.locator('.lm-number')) == wanted.colors[0]
    slide(page, 'Opacity', 100)
    wait_for_drawing(page, opacity=100)
    shown = picture_of(page)
    place = place_in(wanted.masks[0], shown)
    assert tuple(shown[place]) == color
    corner = (5, 5)
    assert not wanted.masks[0][0, 0]
    assert tuple(shown[corner]) == tuple(before[corner])

    # Hidden by its entry, shown by the keyboard, hidden by a click on it
    entry.click()
    wait_for_drawing(page, hidden=[0])
    expect(entry).to_have_attribute('aria-pressed', 'false')
    np.testing.assert_array_equal(picture_of(page), before)
    entry.press('Enter')
    wait_for_drawing(page, hidden=[])
    box = page.locator('canvas').bounding_box()
    assert box is not None
    at = {'x': place[1] * box['width'] / shown.shape[1], 'y': place[0] * box['height'] / shown.shape[0]}
    page.locator('canvas').click(position=at)
    wait_for_drawing(page, hidden=[0])
    page.locator('canvas').click(position=at)
    wait_for_drawing(page, hidden=[])

    # The threshold changes the mask without the server
    requests: list[str] = []
    page.on('request', lambda request: requests.append(request.url))
    slide(page, 'Threshold', 0.95)
    wait_for_drawing(page, threshold=0.95)
    sure = wanted.mask_logits[0] > np.log(0.95 / 0.05)
    assert 0 < sure.mean() < wanted.masks[0].mean()
    area = float(entry.locator('.lm-area').inner_text().removeprefix('area ').removesuffix(' %'))
    assert area == pytest.approx(100 * sure.mean(), abs=0.11)  # a step of the grey values is 1/16 of a logit
    assert [address for address in requests if not address.startswith('data:')] == []
    _, masks, told, _ = download(page)
    np.testing.assert_array_equal(masks[0], sure)
    assert told['threshold'] == 0.95
    slide(page, 'Threshold', 0.5)
    wait_for_drawing(page, threshold=0.5)

    # A further question, alone and as a follow-up
    ask(page, SECOND, masks=2)
    page.get_by_label('Follow-up').check()
    ask(page, 'What is it?', masks=3)
    alone = demo.inferencer(EXAMPLE, SECOND)
    history = [wanted.turn, alone.turn]
    third = demo.inferencer(EXAMPLE, 'What is it?', history=history, max_new_tokens=16)
    assert len(set(map(color_of, page.locator('.lm-chip').all()))) == 3
    file, masks, told, names = download(page)
    assert file == 'lisa_nano_masks.zip'
    assert names == ['mask_1.png', 'mask_2.png', 'mask_3.png', 'overlay.png', 'answer.json']
    for mask, answer, rle in zip(masks, (wanted, alone, third), told['masks'], strict=True):
        np.testing.assert_array_equal(mask, answer.masks[-1])
        np.testing.assert_array_equal(coco.decode(rle['rle']) > 0, mask)
        assert rle['score'] == pytest.approx(answer.scores[-1], abs=1e-6)
    assert [turn['asked'] for turn in told['conversation']] == [wanted.asked, alone.asked, third.asked]
    assert told['image'] == 'example.jpg'
    assert_fits(page, size)

    # Start over
    page.get_by_role('button', name='Start over').click()
    expect(page.locator('.lm-entry')).to_have_count(0)
    expect(page.locator('.lm-exchange')).to_have_count(0)
    expect(page.locator('.lm-download')).to_be_hidden()
    ask(page, SECOND, masks=1)


def test_the_answer_streams_and_can_be_stopped(visit: Visit, demo: Demo) -> None:
    page = visit(demo)
    page.get_by_role('button', name=FIRST).click()
    expect(page.get_by_label('Question')).to_have_value(FIRST)
    expect(page.locator('canvas')).to_be_visible()
    demo.held.hold()
    page.get_by_role('button', name='Ask', exact=True).click()
    expect(page.locator('.lm-answer')).to_have_text('It')  # its first word, while the model waits
    expect(page.locator('.lm-state')).to_have_text('answering')
    expect(page.get_by_role('button', name='Ask', exact=True)).to_be_disabled()
    demo.held.release()
    wait_for_masks(page, 1)
    expect(page.locator('.lm-state')).to_have_text('')

    demo.held.hold()
    page.get_by_label('Question').fill(SECOND)
    page.get_by_label('Question').press('Enter')
    expect(page.locator('.lm-exchange')).to_have_count(2)
    expect(page.locator('.lm-answer').last).to_have_text('It')
    page.get_by_role('button', name='Stop').click()
    expect(page.get_by_role('alert').first).to_contain_text('Stopped')
    assert demo.held.ended.wait(10), 'the model still answers a question that was stopped'
    demo.held.release()
    wait_for_masks(page, 1)
    expect(page.locator('.lm-exchange')).to_have_count(1)
    ask(page, SECOND, masks=2)


def test_a_visitor_who_leaves_frees_the_model(visit: Visit, demo: Demo) -> None:
    page = visit(demo)
    page.get_by_role('button', name=FIRST).click()
    expect(page.get_by_label('Question')).to_have_value(FIRST)
    expect(page.locator('canvas')).to_be_visible()
    demo.held.hold()
    page.get_by_role('button', name='Ask', exact=True).click()
    expect(page.locator('.lm-answer')).to_have_text('It')
    page.close()
    assert demo.held.ended.wait(20), 'the model still answers a visitor who has left'
    demo.held.release()


def test_visitors_are_apart(visit: Visit, demo: Demo) -> None:
    one, other = visit(demo), visit(demo)
    for page in (one, other):
        upload(page, EXAMPLE)
        expect(page.locator('canvas')).to_be_visible()
    ask(one, FIRST, masks=1)
    ask(one, SECOND, masks=2)
    ask(other, 'the yellow fish', masks=1)
    expect(one.locator('.lm-exchange')).to_have_count(2)
    _, masks, _, _ = download(other)
    (mask,) = masks
    np.testing.assert_array_equal(mask, demo.inferencer(EXAMPLE, 'the yellow fish').masks[0])
    addresses = [page.get_by_role('link', name='Download masks').get_attribute('href') for page in (one, other)]
    assert addresses[0] != addresses[1]


def test_a_full_queue_is_a_message(visit: Visit, demo: Demo) -> None:
    pages = [visit(demo, refused=True) for _ in range(3)]
    for page in pages:
        page.get_by_role('button', name=FIRST).click()
        expect(page.get_by_label('Question')).to_have_value(FIRST)
        expect(page.locator('canvas')).to_be_visible()
    demo.held.hold()
    ask_of = [page.get_by_role('button', name='Ask', exact=True) for page in pages]
    ask_of[0].click()
    expect(pages[0].locator('.lm-answer')).to_have_text('It')
    ask_of[1].click()
    expect(pages[1].get_by_text('queue: 1')).to_be_visible()
    ask_of[2].click()
    expect(pages[2].get_by_text('currently busy. Please try again')).to_be_visible()
    demo.held.release()
    for page in pages[:2]:
        wait_for_masks(page, 1)


@pytest.mark.parametrize('size', [DESKTOP, PHONE], ids=['desktop', 'phone'])
def test_faults_are_messages(visit: Visit, demo: Demo, tmp_path: Path, size: tuple[int, int]) -> None:
    page = visit(demo, size)
    message = page.locator('#message [role=alert]')
    button = page.get_by_role('button', name='Ask', exact=True)
    button.click()
    expect(message).to_contain_text('question is empty')
    page.get_by_label('Question').fill(FIRST)
    button.click()
    expect(message).to_contain_text('There is no image yet')

    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(100))
    upload(page, tmp_path / 'broken.png')
    expect(message).to_contain_text('The file broken.png is no image that can be read')
    page.get_by_label('Question').fill('')
    button.click()
    expect(message).to_contain_text('question is empty')
    page.get_by_label('Question').fill(FIRST)
    button.click()
    expect(message).to_contain_text('The file broken.png is no image that can be read')
    page.get_by_label('Remove Image').click()
    expect(message).to_be_hidden()

    Image.new('L', (2000, 1500)).save(tmp_path / 'huge.png')
    upload(page, tmp_path / 'huge.png')
    expect(message).to_contain_text('at most 2 megapixels')
    assert_fits(page, size)
    page.get_by_label('Remove Image').click()
    expect(message).to_be_hidden()

    page.get_by_role('button', name=FIRST).click()
    expect(page.locator('canvas')).to_be_visible()
    page.get_by_label('Question').fill('the [SEG] cup')
    page.get_by_label('Question').press('Enter')
    expect(message).to_contain_text("'[SEG]'")
    expect(page.get_by_label('Question')).to_have_value('the [SEG] cup')  # to be corrected
    assert 'Traceback' not in page.content()
    ask(page, FIRST, masks=1)
    expect(message).to_be_hidden()


def test_a_file_that_is_too_large_is_a_message(visit: Visit, demo: Demo, tmp_path: Path) -> None:
    page = visit(demo)
    (tmp_path / 'large.png').write_bytes(bytes(2**20 + 1))
    upload(page, tmp_path / 'large.png')
    expect(page.get_by_text('exceed the maximum allowed size of 1.0 Mb')).to_be_visible()


def test_a_fault_of_the_server_is_a_message_without_its_trace(
    visit: Visit, demo: Demo, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError('secret')

    page = visit(demo)
    page.get_by_role('button', name=FIRST).click()
    expect(page.locator('canvas')).to_be_visible()
    with monkeypatch.context() as patched:
        patched.setattr(demo.held, 'stream', fail)
        page.get_by_role('button', name='Ask', exact=True).click()
        expect(page.locator('.lm-error')).to_contain_text('fault of the server')
    assert 'secret' not in page.content()
    assert 'secret' in caplog.text
    ask(page, FIRST, masks=1)
    expect(page.locator('.lm-error')).to_be_hidden()


def test_an_answer_without_a_mask_says_what_to_try(visit: Visit, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    page = visit(demo)
    page.get_by_role('button', name=FIRST).click()
    expect(page.locator('canvas')).to_be_visible()
    answer = demo.inferencer(EXAMPLE, FIRST)
    answer.text, answer.masks, answer.mask_logits = 'It is <b>nice</b>.', answer.masks[:0], answer.mask_logits[:0]
    answer.seg_logits = answer.seg_logits[:0]
    monkeypatch.setattr(demo.held, 'stream', lambda *_, **__: iter([answer]))
    page.get_by_role('button', name='Ask', exact=True).click()
    expect(page.locator('.lm-note')).to_have_text(answer.hint)
    expect(page.locator('.lm-answer')).to_have_text('It is <b>nice</b>.')  # text, whatever it holds
    expect(page.locator('.lm-download')).to_be_hidden()


def test_options_reach_the_model(visit: Visit, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    stream = demo.held.stream

    def listen(*args: object, **how: object) -> object:
        given.update(how)
        return stream(*args, **how)

    monkeypatch.setattr(demo.held, 'stream', listen)
    page = visit(demo)
    page.get_by_role('button', name=FIRST).click()
    expect(page.locator('canvas')).to_be_visible()
    page.get_by_label('Ask exactly this').check()
    page.get_by_label('Always answer with a mask').check()
    ask(page, FIRST, masks=1)
    assert given == {'history': (), 'raw': True, 'force_seg': True, 'max_new_tokens': 16}
    expect(page.locator('.lm-asked')).to_have_count(0)


@pytest.mark.parametrize('size', [DESKTOP, PHONE], ids=['desktop', 'phone'])
def test_two_models_side_by_side(visit: Visit, two: Demo, size: tuple[int, int]) -> None:
    page = visit(two, size)
    upload(page, EXAMPLE)
    expect(page.locator('canvas').first).to_be_visible()
    ask(page, FIRST, masks=1)
    assert page.locator('.lm-name').all_inner_texts() == ['lisa_nano', 'model 2']
    one, other = (view.bounding_box() for view in page.locator('.lm-view').all())
    assert one is not None and other is not None
    if size == DESKTOP:
        assert one['y'] == other['y'] and one['x'] + one['width'] <= other['x']
    else:
        assert one['x'] == other['x'] and one['y'] + one['height'] <= other['y']
    assert_fits(page, size)
    wanted = two.inferencer(EXAMPLE, FIRST).masks[0]
    for number in (0, 1):
        file, masks, told, _ = download(page, number)
        np.testing.assert_array_equal(masks[0], wanted)
        assert told['model'] == ['lisa_nano', 'model 2'][number]
        assert file == ['lisa_nano_masks.zip', 'model_2_masks.zip'][number]
    # what is hidden in one stays in the other
    page.locator('.lm-entry').first.click()
    wait_for_drawing(page, hidden=[0])
    expect(page.locator('.lm-entry').last).to_have_attribute('aria-pressed', 'true')


def test_the_order_of_tab_and_the_names_of_all_controls(visit: Visit, demo: Demo) -> None:
    page = visit(demo)
    upload(page, EXAMPLE)
    expect(page.locator('canvas')).to_be_visible()
    ask(page, FIRST, masks=1)
    page.get_by_label('Question').focus()
    seen = []
    for _ in range(11):
        seen.append(
            page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).innerText.split('\\n')[0].trim()")
        )
        outline = page.evaluate(
            'getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth'
        )
        assert outline == 'solid3px', seen
        page.keyboard.press('Tab')
    assert seen == [
        *['Question', 'Ask', 'Start over', 'Download masks', '1', 'Opacity', 'Threshold'],
        *['Follow-up', 'Ask exactly this', 'Always answer with a mask', FIRST],
    ]
    unnamed = page.evaluate("""[...document.querySelectorAll('button, input, textarea, select, a[href]')].filter(node =>
        node.checkVisibility() && node.type !== 'file' && !node.labels?.[0]?.innerText && !node.innerText.trim()
        && !node.ariaLabel && !node.title).map(node => node.outerHTML)""")
    assert unnamed == []


def test_screenshots(visit: Visit, demo: Demo) -> None:
    """What docs/web_demo.md shows; kept where LISA_MM_SCREENSHOTS names a folder."""
    folder = os.environ.get('LISA_MM_SCREENSHOTS')
    for size, name in ((DESKTOP, 'web_demo.png'), (PHONE, 'web_demo_phone.png')):
        page = visit(demo, size)
        upload(page, EXAMPLE)
        expect(page.locator('canvas')).to_be_visible()
        for number, question in enumerate((FIRST, 'which object could be kicked into a goal?', SECOND), 1):
            ask(page, question, masks=number)
        page.locator('h1').click()  # the field loses its focus
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert('RGB')
        few_colors = io.BytesIO()
        shot.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE).save(few_colors, 'PNG', optimize=True)
        assert few_colors.tell() < 300_000
        if folder:
            (Path(folder) / name).write_bytes(few_colors.getvalue())
