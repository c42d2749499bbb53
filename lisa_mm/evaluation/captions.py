"""METEOR and CIDEr of captions, by pycocoevalcap and its Java programs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from importlib.util import find_spec

from mmengine.logging import print_log


def missing_for_captions() -> str:
    """What METEOR and CIDEr lack here, with the remedy; empty if nothing."""
    if find_spec('pycocoevalcap') is None:
        return "pycocoevalcap is not installed: pip install 'lisa_mm[gcg]'"
    if shutil.which('java') is None:
        return "java is not installed: Debian's package is default-jre-headless"
    return ''


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """METEOR and CIDEr over images, as pycocoevalcap gives them; nothing, and one sentence in the log, if it can't run.

    Args:
        captions: One per image.
        references: At least one for each caption.
    """
    if not captions:
        return {}
    missing = missing_for_captions()
    if missing:
        print_log(f'METEOR and CIDEr of {len(captions)} captions are left out: {missing}.', 'current', logging.WARNING)
        return {}
    # the package is an extra
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    said = PTBTokenizer().tokenize({n: [{'caption': one_line(text)}] for n, text in enumerate(captions)})
    wanted = PTBTokenizer().tokenize({n: [{'caption': one_line(text)} for text in own] for n, own in enumerate(references)})
    meteor = Meteor()
    try:
        scores = {'METEOR': float(meteor.compute_score(wanted, said)[0])}
    finally:
        for pipe in (meteor.meteor_p.stdin, meteor.meteor_p.stdout, meteor.meteor_p.stderr):
            if pipe is not None:
                pipe.close()
    return {**scores, 'CIDEr': float(Cider().compute_score(wanted, said)[0])}


def one_line(text: str) -> str:
    """A caption as the Java programs read it: one line, without the mark that separates their fields."""
    return ' '.join(text.replace('|||', ' ').split())
