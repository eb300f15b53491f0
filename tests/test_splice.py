"""Splices: where fades lie, what they change and what they don't."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from frametx.span_reader import SpanReader
from frametx.splice import Span, Splice, quietest_fade, reach_of


@pytest.fixture
def reader_of(tmp_path):
    """Reads samples from a file that holds them."""

    def open_reader(samples):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.wav"
        soundfile.write(path, samples.T, 44_100, subtype="FLOAT")
        return SpanReader(path, Span(start=0, stop=samples.shape[1]))

    return open_reader


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
def test_blocks_of_any_size_are_changed_alike(bits, reader_of):
    """Laying a splice over a stream block by block is laying it over the whole."""
    rng = np.random.default_rng(1)
    new, mix = (rng.uniform(-0.5, 0.5, (2, n)).astype(np.float32) for n in (600, 1000))
    splice = Splice(
        vocals=reader_of(new),
        mix=reader_of(mix),
        start=200,
        fade_in=Span(start=230, stop=280),
        fade_out=Span(start=700, stop=750),
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
    np.testing.assert_allclose((whole + other)[:, 230:750], total[:, 230:750], atol=1e-7)


@pytest.mark.parametrize("bits", [16, None])
def test_a_fade_leads_from_one_recording_to_the_other_along_half_a_cosine(bits, reader_of):
    """Its middle is halfway, its slope is steepest there, and it is the same from both sides; integers are rounded."""
    old, new = 0.5, -0.25
    at = (np.arange(100) + 0.5) / 100
    expected = old + (new - old) * (1 - np.cos(np.pi * at)) / 2
    stored = np.full((1, 400), old, dtype=np.float32)
    if bits is not None:
        expected, stored = np.rint(expected * 2**15), (stored * 2**15).astype(np.int32)
    splice = Splice(
        vocals=reader_of(np.full((1, 400), new, dtype=np.float32)),
        mix=reader_of(np.zeros((1, 400), dtype=np.float32)),
        start=0,
        fade_in=Span(start=50, stop=150),
        fade_out=Span(start=250, stop=350),
    )
    splice.lay_over(stored, None, 0, bits)
    np.testing.assert_allclose(stored[0, 50:150], expected, atol=0 if bits else 1e-6)
    np.testing.assert_array_equal(stored[0, 250:350], stored[0, 149:49:-1])


def test_there_is_no_fade_at_the_songs_beginning_and_end(reader_of):
    """A section that reaches them is new from the first sample to the last."""
    reach = reach_of(Span(start=0, stop=1000), 1000, sample_rate=400)
    new = np.full((1, 1000), 0.25, dtype=np.float32)
    old = np.zeros_like(new)
    splice = Splice(vocals=reader_of(new), mix=reader_of(new), start=0, fade_in=reach.before, fade_out=reach.after)
    splice.lay_over(old, None, 0, None)
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(("start", "stop"), [(19, 980), (20, 980), (220, 780), (221, 779)])
def test_fades_lie_half_a_second_from_the_section_at_most(start, stop):
    """Nearer to the song's ends they have what room there is; where that is less than a fade, there is none."""
    reach = reach_of(Span(start=start, stop=stop), 1000, sample_rate=400)
    assert reach.fade == 20
    expected = (0, 0) if start < 20 else (max(0, start - 200), start)
    assert (reach.before.start, reach.before.stop) == expected
    assert (reach.after.start, reach.after.stop) == (stop, min(1000, stop + 200))
