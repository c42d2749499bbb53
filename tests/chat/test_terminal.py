"""The command itself, on a terminal and on a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'TERM': 'xterm-256color', 'COLORTERM': 'truecolor'}
SEG = re.compile(rb'\x1b\[1;38;2;\d+;\d+;\d+;48;2;\d+;\d+;\d+m\[SEG\]')


def command(model: Path, image: Path, out: Path) -> list[str]:
    return [sys.executable, str(ROOT / 'tools' / 'chat.py'), str(model), str(image), '--out', str(out), '--device', 'cpu']


@pytest.mark.slow
def test_a_terminal(model, photos, tmp_path):
    """Types options and a question, sees the answer with its coloured [SEG] and the picture, presses Ctrl-C and Ctrl-D."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(model, photos / 'a.png', tmp_path / 'out'), stdin=theirs, stdout=theirs, stderr=theirs, env=ENV,
        start_new_session=True, preexec_fn=make_controlling,
    )  # fmt: skip
    os.close(theirs)
    seen = b''

    def wait_for(words: bytes, again: bytes = b'') -> bytes:
        nonlocal seen
        end = time.monotonic() + 120
        while words not in seen:
            assert time.monotonic() < end, seen.decode(errors='replace')
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
            elif again:
                os.write(ours, again)
        before, _, seen = seen.partition(words)
        return before

    prompt = b'a.png 56x40> '
    try:
        wait_for(prompt)
        os.write(ours, b'/set force_seg=true\n')
        wait_for(prompt)
        os.write(ours, b'/set max_new_tokens=5\n')
        wait_for(prompt)
        os.write(ours, b'the cup\n')
        answer = wait_for(prompt)
        assert len(SEG.findall(answer)) == 1
        assert '▀'.encode() in answer
        assert b'a_overlay.png' in answer
        os.write(ours, b'/im\t')
        wait_for(b'/image ')
        os.write(ours, b'\x03')
        # pressed again after a silent second: Python's readline sleeps through a signal that comes just before it waits for a key
        wait_for(b'(Ctrl-D leaves)', again=b'\x03')
        wait_for(prompt)
        os.write(ours, b'\x04')
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert len(list((tmp_path / 'out').glob('chat_*/a_mask_0.png'))) == 1


def make_controlling() -> None:
    """Make standard input the terminal of this process, so that Ctrl-C reaches it, as in a shell that a user types in."""
    # a test run may ignore SIGINT (a job in the background) or block it, and its processes inherit that
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_pipe(model, photos, tmp_path):
    lines = '/set force_seg=true\nthe cup\n/image nowhere.png\n\nthe cat'
    done = subprocess.run(
        command(model, photos / 'a.png', tmp_path / 'out'), input=lines, env=ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1  # of the image that is not there
    assert done.stderr.splitlines()[-1] == 'nowhere.png: no such file. Give one image file.'
    assert 'Traceback' not in done.stderr
    assert '\x1b' not in done.stdout
    assert done.stdout.count('[SEG]') == 2
    assert len(list((tmp_path / 'out').glob('chat_*/a*_overlay.png'))) == 2
