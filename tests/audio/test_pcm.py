"""Quantising and saturating."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frametx.audio.pcm import quantise, saturate


@pytest.mark.parametrize("bits", [16, 24])
@given(st.data())
def test_an_integer_comes_back_as_itself(bits, data):
    """What was read from an integer file quantises to the same integers."""
    full_scale = 2 ** (bits - 1)
    values = data.draw(st.lists(st.integers(-full_scale, full_scale - 1), min_size=1, max_size=50))
    samples = (np.array([values]) / full_scale).astype(np.float32)
    assert quantise(samples, bits).tolist() == [values]


def test_every_16_bit_value_is_kept():
    """All 65,536 values of 16 bits survive float32 and back."""
    values = np.arange(-(2**15), 2**15, dtype=np.int32)[np.newaxis]
    assert np.array_equal(quantise((values / 2**15).astype(np.float32), 16), values)


def test_halves_round_to_even():
    """Rounding has no bias: halves go to the even neighbour."""
    samples = np.array([[0.5, 1.5, 2.5, -0.5, -1.5]], dtype=np.float32) / 2**15
    assert quantise(samples, 16).tolist() == [[0, 2, 2, 0, -2]]


def test_quantising_does_not_saturate():
    """Beyond full scale the integers go on, so that stems can be made complementary first."""
    assert quantise(np.array([[2.0, -3.0]], dtype=np.float32), 16).tolist() == [[65536, -98304]]


def test_huge_floats_stop_at_the_integer_range():
    """A float a million times too loud does not wrap round to the other sign."""
    loud = quantise(np.array([[1e6, -1e6]], dtype=np.float32), 24)
    assert loud.tolist() == [[2**31 - 1, -(2**31)]]


def test_saturating_cuts_and_counts():
    """Values beyond 16 bits become the largest there are, and the changed ones are counted."""
    cut, n_clipped = saturate(np.array([[32767, 32768, -32768, -40000]], dtype=np.int32), 16)
    assert cut.tolist() == [[32767, 32767, -32768, -32768]]
    assert n_clipped == 2


def test_samples_in_range_are_left_alone():
    """Nothing is counted when nothing is cut, and no samples are no trouble."""
    samples = np.array([[1, -2, 3]], dtype=np.int32)
    cut, n_clipped = saturate(samples, 16)
    assert n_clipped == 0
    assert np.array_equal(cut, samples)
    assert quantise(np.zeros((2, 0), np.float32), 16).shape == (2, 0)
    assert saturate(np.zeros((2, 0), np.int32), 24)[1] == 0
