"""What a visitor does, and sees."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect


def upload(page: Page, path: Path) -> None:
    """Choose a file as the image."""
    page.locator('#image input[type=file]').set_input_files(path)


def ask(page: Page, question: str, *, masks: int) -> None:
    """Ask by Enter, and wait until all models have answered and the masks are drawn."""
    field = page.get_by_label('Question')
    field.fill(question)
    field.press('Enter')
    wait_for_masks(page, masks)


def wait_for_masks(page: Page, masks: int) -> None:
    """Wait until all models have answered, and each canvas shows a number of masks."""
    expect(page.get_by_role('button', name='Ask', exact=True)).to_be_enabled()
    for view in page.locator('.lm-view').all():
        expect(view.locator('.lm-download')).to_be_visible()
    drawn = "n => [...document.querySelectorAll('canvas')].every(c => JSON.parse(c.dataset.drawn ?? '{}').masks === n)"
    page.wait_for_function(drawn, arg=masks)


def wait_for_drawing(page: Page, **state: object) -> None:
    """Wait until the first canvas is drawn with a state, such as hidden=[0]."""
    matches = """wanted => Object.entries(wanted).every(([key, value]) =>
        JSON.stringify(JSON.parse(document.querySelector('canvas').dataset.drawn ?? '{}')[key]) === JSON.stringify(value))"""
    page.wait_for_function(matches, arg=state)


def picture_of(page: Page) -> np.ndarray:
    """The pixels of the first canvas, (H, W, 3)."""
    address = page.evaluate("document.querySelector('canvas').toDataURL('image/png')")
    return np.array(Image.open(io.BytesIO(base64.b64decode(address.split(',')[1]))).convert('RGB'))


def place_in(mask: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """(row, column) in a picture of a place well inside a mask (h, w), away from its border and its number."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    away = int(depth.max() * 0.55)
    return (
        int((row + 0.5) * picture.shape[0] / mask.shape[0]),
        int((column + away + 0.5) * picture.shape[1] / mask.shape[1]),
    )


def color_of(part: Locator) -> tuple[int, ...]:
    """The colour behind a part, RGB."""
    value = part.evaluate('node => getComputedStyle(node).backgroundColor')
    return tuple(int(number) for number in value.removeprefix('rgb(').removesuffix(')').split(','))


def slide(page: Page, name: str, value: float) -> None:
    """Move the first slider of a name."""
    page.get_by_label(name).first.fill(str(value))


def download(page: Page, number: int = 0) -> tuple[str, list[np.ndarray], dict[str, Any], list[str]]:
    """Download the masks of a model: the file's name, masks (H, W) bool, answer.json, and the names of all files."""
    with page.expect_download() as got:
        page.get_by_role('link', name='Download masks').nth(number).click()
    with zipfile.ZipFile(got.value.path()) as archive:
        names = archive.namelist()
        masks = [np.array(Image.open(io.BytesIO(archive.read(name)))) > 127 for name in names if name.startswith('mask_')]
        return got.value.suggested_filename, masks, json.loads(archive.read('answer.json')), names
