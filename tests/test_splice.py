"""Splices: where fades lie, what they change and what they don't."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frametx.splice import Span, Splice, quietest_fade, reach_of


@settings(max_examples=50)
@given(st.integers(1, 2000), st.data())
def test_a_section_is_inside_what_it_may_touch(n_samples, data):
    """Fades lie outside the section and inside the song, wherever the section is."""
    start = data.draw(st.integers(0, n_samples - 1))
    stop = data.draw(st.integers(start + 1, n_samples))
    reach = reach_of(Span(start=start, stop=stop), n_samples, sample_rate=400)
    assert (
        0
        <= reach.before.start
        <= reach.before.stop
        <= start
        < stop
        <= reach.after.start
        <= reach.after.stop
        <= n_samples
    )
    assert reach.section.start == reach.before.stop
    assert all(len(side) == 0 or len(side) >= reach.fade for side in (reach.before, reach.after))


def test_the_fade_lies_where_least_differs():
    """Among loud differences the one quiet place is found."""
    old = np.zeros((2, 1000), dtype=np.float32)
    new = np.ones((2, 1000), dtype=np.float32)
    new[:, 600:660] = 0.01
    assert 600 <= quietest_fade(old, new, 50, latest=True) <= 610


@pytest.mark.parametrize(("latest", "expected"), [(True, 950), (False, 0)])
def test_among_equal_places_the_one_at_the_border_is_taken(latest, expected):
    """In silence the section is not widened."""
    silence = np.zeros((1, 1000), dtype=np.float32)
    assert quietest_fade(silence, silence, 50, latest=latest) == expected


@pytest.mark.parametrize("bits", [16, 24, None])
def test_blocks_of_any_size_are_changed_alike(bits):
    """Laying a splice over a stream block by block is laying it over the whole."""
    rng = np.random.default_rng(1)
    new, mix = (rng.uniform(-0.5, 0.5, (2, 600)).astype(np.float32) for _ in range(2))
    splice = Splice(
        vocals=new, mix=mix, start=200, fade_in=Span(start=230, stop=280), fade_out=Span(start=700, stop=750)
    )
    old = rng.uniform(-0.5, 0.5, (2, 1000)).astype(np.float32)
    stored = old if bits is None else np.rint(old * 2 ** (bits - 1)).astype(np.int32)
    whole, other = stored.copy(), stored.copy()
    splice.lay_over(whole, other, 0, bits)
    pieces, others = stored.copy(), stored.copy()
    for at in range(0, 1000, 77):
        splice.lay_over(pieces[:, at : at + 77], others[:, at : at + 77], at, bits)
    np.testing.assert_array_equal(pieces, whole)
    np.testing.assert_array_equal(others, other)
    np.testing.assert_array_equal(whole[:, :230], stored[:, :230])
    np.testing.assert_array_equal(whole[:, 750:], stored[:, 750:])
    exact = new if bits is None else np.rint(new * 2 ** (bits - 1)).astype(np.int32)
    np.testing.assert_array_equal(whole[:, 280:700], exact[:, 80:500])
    total = mix if bits is None else np.rint(mix * 2 ** (bits - 1)).astype(np.int32)
    np.testing.assert_allclose((whole + other)[:, 230:750], total[:, 30:550], atol=1e-7)
