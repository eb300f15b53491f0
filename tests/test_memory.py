"""Memory does not grow with the song."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from frametx.outputs import Stem
from frametx.span_reader import SpanReader
from frametx.splice import Span, Splice
from frametx.stem_rewriter import rewrite_stems

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


def test_a_redone_section_is_never_in_memory_as_a_whole(tmp_path):
    """Laying three minutes over stems takes less memory than their vocals and their mix would."""
    n_samples = 180 * 44_100
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (n_samples, 2)).astype(np.float32)
    files = [tmp_path / name for name in ("vocals.wav", "instrumental.wav", "mix.wav", "new.wav")]
    for path in files:
        soundfile.write(path, noise, 44_100, subtype="FLOAT" if path.stem == "new" else "PCM_16")
    vocals, instrumental, mix, new = files
    whole, nowhere = Span(start=0, stop=n_samples), Span(start=n_samples, stop=n_samples)
    splice = Splice(
        vocals=SpanReader(new, whole),
        mix=SpanReader(mix, whole),
        start=0,
        fade_in=Span(start=0, stop=0),
        fade_out=nowhere,
    )
    sources = {Stem.VOCALS: vocals, Stem.INSTRUMENTAL: instrumental}
    targets = {stem: tmp_path / f"{stem.label}.wav" for stem in Stem}
    tracemalloc.start()
    try:
        rewrite_stems(sources, targets, [splice], n_samples=n_samples, tags_from=sources)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * noise.nbytes
