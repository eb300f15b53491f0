"""Freed memory is used again, or returned where there is much of it."""

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
    """Large blocks that are made and freed over and over meet few new pages once the heap has grown."""
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    kept, before, after = map(int, answer.split())
    if not kept:
        pytest.skip("this C library cannot be told")
    assert after < before / 4


LAYERS = """
import resource
import sys
from pathlib import Path
import torch
from frametx.allocator import freed_memory_returned, keep_freed_memory

class Layer(torch.nn.Module):
    def forward(self, x):
        torch.ones(100_000_000)
        return x

def resident_bytes():
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])

kept = keep_freed_memory()
network = torch.nn.Sequential(Layer(), Layer())
before = resident_bytes()
with freed_memory_returned(network, int(sys.argv[1])):
    network(torch.ones(1))
print(int(kept), resident_bytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
@pytest.mark.parametrize(("n_frames", "returned"), [(2048, False), (2049, True)])
def test_only_a_long_window_returns_what_it_freed(n_frames, returned):
    """For windows of more than 2048 frames memory counts more than time: what a layer freed goes back to the system."""
    command = [sys.executable, "-c", LAYERS, str(n_frames)]
    kept, grown = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    if not kept:
        pytest.skip("this C library cannot be told")
    assert (grown < 200_000_000) == returned
