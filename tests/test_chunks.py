"""Chunks cover a song, and their masks are joined without seams."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frametx.chunks import MaskJoiner, plan_chunks, plan_grid

songs = st.integers(1, 400)
sizes = st.integers(1, 120)
contexts = st.integers(0, 40)
planners = st.sampled_from([plan_chunks, plan_grid])


@given(songs, sizes, contexts, planners)
def test_every_frame_is_owned_exactly_once_and_seen_by_its_owner(n_frames, size, context, planner):
    """The owned stretches follow one another from the first frame to the last."""
    chunks = planner(n_frames, size, context)
    assert [frame for chunk in chunks for frame in range(chunk.start, chunk.stop)] == list(range(n_frames))
    assert all(chunk.seen_start <= chunk.start and chunk.stop <= chunk.seen_stop for chunk in chunks)


@given(songs, sizes, contexts)
def test_windows_have_one_width_lie_in_the_song_and_see_their_context(n_frames, size, context):
    """No window holds silence that is not in the song, none is cut short of context that the song has, or wider."""
    chunks = plan_chunks(n_frames, size, context)
    assert len({chunk.width for chunk in chunks}) == 1
    owned = [chunk.stop - chunk.start for chunk in chunks]
    assert max(owned) - min(owned) <= 1
    for chunk in chunks:
        assert chunk.seen_start >= 0
        assert chunk.seen_stop <= n_frames
        assert chunk.width <= max(owned) + 2 * context
        assert max(owned) <= size
        assert chunk.start - chunk.seen_start >= min(context, chunk.start)
        assert chunk.seen_stop - chunk.stop >= min(context, n_frames - chunk.stop)


@given(songs, sizes, contexts)
def test_grid_windows_are_all_full(n_frames, size, context):
    """The original program's windows are size + 2 x context wide, however short the song is."""
    assert {chunk.width for chunk in plan_grid(n_frames, size, context)} == {size + 2 * context}


@given(songs, sizes, contexts, st.integers(0, 60), planners)
def test_masks_that_agree_are_joined_into_themselves(n_frames, size, context, fade, planner):
    """Where all windows say the same, cross-fades and borders change nothing."""
    chunks = planner(n_frames, size, context)
    joiner = MaskJoiner(chunks, fade)
    truth = torch.linspace(0, 1, n_frames + 4 * (size + context), dtype=torch.float64)
    offset = 2 * (size + context)
    joined = torch.cat(
        [joiner.push(truth[chunk.seen_start + offset : chunk.seen_stop + offset].expand(2, 3, -1)) for chunk in chunks],
        dim=-1,
    )
    torch.testing.assert_close(joined, truth[offset : offset + n_frames].expand(2, 3, -1))


def test_masks_that_disagree_are_mixed_without_a_jump():
    """Between two constant masks the joined one climbs in equal small steps over the fade."""
    chunks = plan_chunks(200, 100, 20)
    joiner = MaskJoiner(chunks, 20)
    masks = [torch.full((1, 1, chunk.width), float(index)) for index, chunk in enumerate(chunks)]
    joined = torch.cat([joiner.push(mask) for mask in masks], dim=-1)[0, 0]
    steps = joined.diff()
    assert joined[0] == 0
    assert joined[-1] == 1
    assert steps.min() >= 0
    assert steps.max() == pytest.approx(0.05)
    torch.testing.assert_close(joined, 1 - joined.flip(0))  # neither window is preferred
