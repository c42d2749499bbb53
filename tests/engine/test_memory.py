"""Settings of the C library's memory, each in a process of its own."""

import subprocess
import sys

import pytest

START = """
import resource, torch
from lisa_mm.engine.memory import keep_freed_memory
assert {on} is False or keep_freed_memory()
"""
# 160 MB in use at once, in blocks of 20 MB: glibc by itself gives back what is above 40 MB
REUSED = """
def use():
    for _ in range(5):
        _ = [torch.ones(5_000_000) for _ in range(8)]
        del _
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
# A buffer of 2 GB that is never filled, as DeepSpeed makes one per step, between blocks that stay
UNTOUCHED = """
def virtual():
    (line,) = (line for line in open('/proc/self/status') if line.startswith('VmSize'))
    return int(line.split()[1]) * 1024
before, kept = virtual(), []
for _ in range(6):
    bucket = torch.empty(500_000_000)
    kept.append(torch.ones(250_000))
    del bucket
    kept.append(torch.ones(250_000))
print(virtual() - before)
"""


def printed(code: str, on: bool) -> int:
    done = subprocess.run([sys.executable, '-c', START.format(on=on) + code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='mallopt is glibc on Linux')
def test_freed_buffers_are_used_again_without_page_faults():
    without, kept = printed(REUSED, False), printed(REUSED, True)
    assert kept < without / 4


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='mallopt is glibc on Linux')
def test_a_large_buffer_leaves_with_its_last_use():
    """Otherwise the heap grows by its size now and then, until the kernel refuses to start data workers."""
    assert printed(UNTOUCHED, True) < 1e9
