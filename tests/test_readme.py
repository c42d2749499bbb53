"""The three lines of the README, from the package to an overlay."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_mm.apis import example_image

README = (Path(__file__).parents[1] / 'README.md').read_text(encoding='utf-8')


def test_the_three_lines(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r'```python\n(.*?)```', README, flags=re.S)
    lines = [line for line in code.splitlines() if line]
    assert len(lines) == 3
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    text, overlay = re.search(r'# (.*); the picture is (.*)$', lines[-1]).groups()  # pyright: ignore[reportOptionalMemberAccess] - it is there
    said, box = text.split(' [[')
    printed = capsys.readouterr().out.strip().split(' [[')
    assert printed[0] == said
    # another processor may round a pixel of the border otherwise
    np.testing.assert_allclose(json.loads('[[' + printed[1]), json.loads('[[' + box), atol=1)
    drawn = np.array(Image.open(tmp_path / overlay).convert('RGB')).astype(int)
    with Image.open(example_image()) as image:
        assert np.abs(drawn - np.array(image.convert('RGB'))).max() > 100
