"""METEOR and CIDEr: where they run, against values that are known; where they can't, one sentence."""

from __future__ import annotations

import math
import shutil

import pytest

from lisa_mm.evaluation import captions
from lisa_mm.evaluation.captions import caption_scores


@pytest.fixture
def log(monkeypatch):
    """The sentences that were logged."""
    found: list[str] = []
    monkeypatch.setattr(captions, 'print_log', lambda text, *_: found.append(text))
    return found


def test_without_java_it_is_one_sentence(monkeypatch, log):
    monkeypatch.setattr(captions, 'find_spec', lambda _: object())
    monkeypatch.setattr(shutil, 'which', lambda _: None)
    assert caption_scores(['a dog', 'a cat'], [['a dog'], ['a cat']]) == {}
    assert log == [
        "METEOR and CIDEr of 2 captions are left out: java is not installed: Debian's package is default-jre-headless."
    ]


def test_without_the_package_it_is_one_sentence(monkeypatch, log):
    monkeypatch.setattr(captions, 'find_spec', lambda _: None)
    assert caption_scores(['a dog'], [['a dog']]) == {}
    assert log == ["METEOR and CIDEr of 1 captions are left out: pycocoevalcap is not installed: pip install 'lisa_mm[gcg]'."]


def test_no_captions_need_nothing(log):
    assert caption_scores([], []) == {}
    assert log == []


@pytest.mark.slow
def test_known_values():
    """METEOR of a caption that is its reference is 1, CIDEr 10 in its scale; one that shares no word has 0 of both.

    An n-gram that every image has carries no weight in CIDEr (log of 1), so three captions of different words are needed.
    """
    pytest.importorskip('pycocoevalcap', reason="needs pip install 'lisa_mm[gcg]'")
    if shutil.which('java') is None:
        pytest.skip("needs Java: Debian's default-jre-headless")
    said = ['A small dog\nruns on grass.', 'seven ||| green boats sail away', '']
    wanted = [['a small dog runs on grass', 'a dog'], ['old cheese tastes rather good'], ['two red birds are flying']]
    same = caption_scores(said[:1] * 2, [wanted[0][:1], wanted[1]])
    assert same['METEOR'] == pytest.approx(0.5, abs=0.05)  # METEOR sums its counts over all captions
    assert same['CIDEr'] == pytest.approx(5)
    found = caption_scores(said, wanted)
    assert set(found) == {'METEOR', 'CIDEr'}
    assert all(math.isfinite(value) and value > 0 for value in found.values())
