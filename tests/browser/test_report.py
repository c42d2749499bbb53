"""A report of an evaluation, opened as a file at the width of a desktop and of a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from lisa_mm.reporting import write_report
from tests.reporting.making import make_two, write_model

from .conftest import DESKTOP, PHONE

# elements that stick out of the window, but for those in a part that scrolls by itself
OUTSIDE = """() => [...document.body.querySelectorAll('*')].filter(node => {
  const box = node.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5) && !node.closest('.wide, .skip');
}).map(node => node.outerHTML.slice(0, 120))"""


@pytest.fixture(scope='module')
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of one model, of two, and of two whose names are long words."""
    root = tmp_path_factory.mktemp('reports')
    made = make_two(root)
    long = [write_model(root / f'long_{n}', f'{"long_name_" * 9}{n}', [], device='x' * 90) for n in range(2)]
    folders = {'one': made[:1], 'two': made, 'long': [*made, *long]}
    for picture in sorted((root / 'pictures').glob('*.jpg'))[:3]:
        picture.rename(root / f'moved_{picture.name}')  # grey boxes
    return {name: write_report(given, root / f'{name}.html') for name, given in folders.items()}


@pytest.fixture
def visit(browser: Browser) -> Iterator[object]:
    """Open a file; at the end it must have written nothing to the console and asked for no other file."""
    faults: list[str] = []
    contexts = []

    def open_page(path: Path, size: tuple[int, int]) -> Page:
        context = browser.new_context(viewport={'width': size[0], 'height': size[1]})
        contexts.append(context)
        page = context.new_page()
        page.on('console', lambda message: faults.append(f'{message.type}: {message.text}'))
        page.on('pageerror', lambda error: faults.append(str(error)))
        page.on(
            'request', lambda request: None if request.url.startswith(('data:', path.as_uri())) else faults.append(request.url)
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize('size', [DESKTOP, PHONE], ids=['desktop', 'phone'])
@pytest.mark.parametrize('name', ['one', 'two', 'long'])
def test_nothing_sticks_out(visit, reports, name, size):
    page = visit(reports[name], size)
    assert page.evaluate('document.documentElement.scrollWidth') <= size[0]
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate('[...document.images].every(image => image.complete && image.naturalWidth > 0)')
    assert page.locator('.missing').count() > 0
    if name != 'long':  # two models fit a phone without scrolling a table
        assert page.evaluate('[...document.querySelectorAll(".wide")].every(node => node.scrollWidth <= node.clientWidth)')


def test_the_keyboard_reaches_everything(visit, reports):
    page = visit(reports['two'], PHONE)
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.textContent') == 'To the tables'
    box = page.locator('.skip').bounding_box()
    assert box is not None and box['x'] >= 0  # seen as long as it has the focus
    reached = set()
    for _ in range(40):
        page.keyboard.press('Tab')
        reached.add(page.evaluate('document.activeElement.tagName'))
        if page.evaluate('document.activeElement.tagName') == 'SUMMARY':
            break
    assert reached == {'A', 'DIV', 'SUMMARY'}
    page.keyboard.press('Enter')
    assert page.locator('details').first.get_attribute('open') is None


def test_texts_have_contrast(visit, reports):
    page = visit(reports['two'], DESKTOP)
    worst = page.evaluate(
        """() => {
          const light = text => {
            const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255)
              .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = node => {
            const own = getComputedStyle(node).backgroundColor;
            return own === 'rgba(0, 0, 0, 0)' ? ground(node.parentElement) : own;
          };
          const texts = [...document.querySelectorAll('body *')].filter(node => [...node.childNodes].some(
            child => child.nodeType === 3 && child.textContent.trim()));
          return Math.min(...texts.map(node => {
            const pair = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
            return (pair[0] + 0.05) / (pair[1] + 0.05);
          }));
        }"""
    )
    assert worst >= 4.5
