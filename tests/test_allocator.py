"""Freed memory is used again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from frametx.allocator import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(50_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = page_faults()
kept = keep_freed_memory()
for _ in range(4):  # until the heap has grown
    page_faults()
print(int(kept), first, page_faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_blocks_that_were_freed_are_not_touched_for_the_first_time_again():
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    kept, before, after = map(int, answer.split())
    if not kept:
        pytest.skip("this C library cannot be told")
    assert after < before / 4
