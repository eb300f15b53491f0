"""Resampling in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frametx.audio.resample import Resampler, resampled_length

RATES = [8000, 22050, 44100, 48000, 96000]


def resample(samples, rate_in, rate_out, cuts=()):
    resampler = Resampler(rate_in, rate_out, samples.shape[0])
    pieces = np.split(samples, sorted(cuts), axis=1)
    parts = [resampler.process(piece) for piece in pieces[:-1]]
    return np.concatenate([*parts, resampler.process(pieces[-1], last=True)], axis=1)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 6000),
    rate_in=st.sampled_from(RATES),
    rate_out=st.sampled_from(RATES),
    cuts=st.lists(st.integers(0, 6000), max_size=6),
    last_is_empty=st.booleans(),
)
def test_any_block_size_gives_the_same_samples(n, rate_in, rate_out, cuts, last_is_empty):
    """How the song is cut into blocks does not change a sample, and the length is the documented one."""
    samples = np.random.default_rng(n).uniform(-0.5, 0.5, (2, n)).astype(np.float32)
    cuts = [min(cut, n) for cut in cuts] + ([n] if last_is_empty else [])
    whole = resample(samples, rate_in, rate_out)
    assert whole.shape == (2, resampled_length(n, rate_in, rate_out))
    np.testing.assert_allclose(resample(samples, rate_in, rate_out, cuts), whole, atol=1e-6)


def test_equal_rates_pass_the_samples_through(noise):
    """Without a change of rate not a bit changes."""
    samples = noise(1000)
    assert np.array_equal(resample(samples, 44100, 44100, [10, 500]), samples)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 48000), (48000, 44100), (96000, 44100)])
def test_a_tone_stays_in_time(rate_in, rate_out):
    """The output has no delay: a tone resampled is the tone sampled at the other rate."""
    t_in, t_out = np.arange(2 * rate_in) / rate_in, np.arange(2 * rate_out) / rate_out
    tone = np.sin(2 * np.pi * 1000 * t_in)[np.newaxis].astype(np.float32)
    expected = np.sin(2 * np.pi * 1000 * t_out)
    out = resample(tone, rate_in, rate_out, [1000, 1001, 40000])[0]
    middle = slice(2000, len(out) - 2000)  # at its ends the tone begins and stops
    assert np.abs(out[middle] - expected[middle]).max() < 1e-5


@pytest.mark.parametrize("n", [1, 2, 99, 44100])
def test_there_and_back_loses_no_sample(n):
    """Resampled to another rate and back, a song is at least as long as it was."""
    for rate in RATES:
        assert resampled_length(resampled_length(n, rate, 44100), 44100, rate) >= n
