"""Memory does not grow with the song."""

from __future__ import annotations

import subprocess
import sys

import pytest

# a process of its own, because only the peak of a whole process tells; a network that costs nothing, because what is
# measured is the stream around it; noise made block by block, so that the song itself is never in memory
SCRIPT = """
import resource, sys
import numpy as np, torch
from frametx.masker import Masker
from frametx.models.network import Network
from frametx.separate import separate_blocks, survey_song
from frametx.windows import WindowOptions

class Slope(Network):
    architecture = "slope"
    def forward(self, x):
        return torch.linspace(-1, 1, x.shape[2])[:, None].expand_as(x)
    def logits(self, x): ...
    @classmethod
    def sizes_from(cls, shapes): ...

class Noise:
    sample_rate, channels = 48_000, 2
    def blocks(self):
        rng = np.random.default_rng(0)
        for _ in range(int(sys.argv[1])):
            yield (rng.random((2, 48_000), dtype=np.float32) - 0.5)

masker = Masker(name="slope", network=Slope(in_channels=2, out_channels=2, n_fft=2048), device=torch.device("cpu"))
survey = survey_song(Noise(), [masker.network.framing])
n = sum(s.vocals.shape[1] for s in separate_blocks(Noise(), survey, [masker], WindowOptions(crop=256, context=32)))
assert n == 48_000 * int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(seconds: int) -> int:
    """The most memory that a process holds while it separates a song of so many seconds."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(seconds)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_song_ten_times_as_long_needs_no_more_memory():
    """A minute and ten minutes peak within 10 % of each other; the ten minutes alone would be 230 MB."""
    assert peak_kib(600) < 1.1 * peak_kib(60)
