"""Songs made up for the audio tests."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def noise():
    """Make quiet stereo noise of `n` samples, `[c n]`, that 16 bits hold exactly."""

    def make(n: int, *, channels: int = 2, seed: int = 0, bits: int = 16) -> np.ndarray:
        rng = np.random.default_rng(seed)
        full_scale = 2 ** (bits - 1)
        return (rng.integers(-full_scale // 2, full_scale // 2, (channels, n)) / full_scale).astype(np.float32)

    return make


@pytest.fixture
def tones():
    """Make a stereo mixture of tones, `[c n]`, which lossy codecs keep well."""

    def make(seconds: float, rate: int = 44100, *, channels: int = 2) -> np.ndarray:
        t = np.arange(round(seconds * rate)) / rate
        rows = [
            0.3 * np.sin(2 * np.pi * 440 * (c + 1) * t) * np.sin(2 * np.pi * 1.7 * t) + 0.1 * np.sin(2 * np.pi * 97 * t)
            for c in range(channels)
        ]
        return np.array(rows, dtype=np.float32)

    return make
