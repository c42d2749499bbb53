import subprocess
import sys

import pytest

CODE = """
import resource, torch
from lisa_mm.engine.memory import keep_freed_memory
assert {on} is False or keep_freed_memory()
def use():
    for _ in range(5):
        torch.ones(10_000_000)  # 40 MB: above the 32 MB up to which glibc itself stops mapping
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(on: bool) -> int:
    done = subprocess.run([sys.executable, '-c', CODE.format(on=on)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='mallopt is glibc on Linux')
def test_freed_buffers_are_used_again_without_page_faults():
    without, kept = faults(False), faults(True)
    assert kept < without / 4
