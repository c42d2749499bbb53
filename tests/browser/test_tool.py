"""The command, as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, 'tools/web_demo.py', 'lisa_nano', '--port', '0', '--device', 'cpu']
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        line = next((line for line in process.stdout if 'http://' in line), '')
        found = re.fullmatch(r'lisa_nano: (http://127\.0\.0\.1:\d+)\n', line)
        assert found, process.stderr.read()
        with urllib.request.urlopen(found[1], timeout=10) as page:
            assert b'gradio' in page.read()
        assert list(tmp_path.glob('lisa_mm_demo_*'))
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
        assert process.wait(20) == 128 + signal.SIGTERM, errors
    assert 'Traceback' not in errors
    assert not list(tmp_path.glob('lisa_mm_demo_*'))  # uploads go with the server


def test_faults_come_before_the_model_is_loaded() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, 'tools/web_demo.py', *words]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False
        )

    missing = run('no_such_folder', '--port', '0')
    assert missing.returncode == 1
    assert 'no_such_folder does not exist' in missing.stderr and 'Traceback' not in missing.stderr
    wrong = run('lisa_nano', '--max-megapixels', '0')
    assert wrong.returncode == 2
    assert "'0' is no number above 0" in wrong.stderr
