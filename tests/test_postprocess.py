"""Artifact merging: passages without a voice are left to the instrumental."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frametx.postprocess import FADE_FRAMES, MIN_FRAMES, THRESHOLD, MergedArtifacts, merge_weight
from frametx.stream import FrameBuffer


def columns(n_frames, *runs):
    """Which frames are free of voice: inclusive (first, last) runs."""
    free = np.zeros(n_frames, dtype=bool)
    for first, last in runs:
        free[first : last + 1] = True
    return free


def test_a_free_passage_is_raised_to_one_between_fades():
    """In a run from 100 to 199 the weight climbs over 32 frames, is 1, and falls over 32 frames; frame 199 stays."""
    weight = merge_weight(columns(400, (100, 199)))
    ramp = np.linspace(0, 1, FADE_FRAMES, dtype=np.float32)
    np.testing.assert_array_equal(weight[100:132], ramp)
    np.testing.assert_array_equal(weight[132:167], 1)
    np.testing.assert_array_equal(weight[167:199], ramp[::-1])
    assert not weight[:100].any()
    assert not weight[199:].any()


@pytest.mark.parametrize(("last", "kept"), [(100 + MIN_FRAMES, False), (101 + MIN_FRAMES, True)])
def test_short_passages_are_left_alone(last, kept):
    """A run counts when its last frame is more than 64 after its first."""
    assert merge_weight(columns(400, (100, last))).any() == kept


def test_there_is_no_fade_at_the_songs_beginning_but_one_at_its_end():
    """A run from the first frame begins at 1; one that reaches the end still fades out."""
    weight = merge_weight(columns(400, (0, 120), (300, 399)))
    assert weight[0] == 1
    assert weight[366] == 1
    assert weight[398] == 0


def test_passages_close_to_each_other_are_faded_together():
    """A run that begins less than 32 frames after the last one reaches back 64 frames into it."""
    weight = merge_weight(columns(400, (50, 150), (160, 300)))
    np.testing.assert_array_equal(weight[86:118], np.linspace(0, 1, FADE_FRAMES, dtype=np.float32))
    np.testing.assert_array_equal(weight[118:268], 1)


@pytest.mark.parametrize(("gap", "together"), [(FADE_FRAMES - 1, True), (FADE_FRAMES, False)])
def test_passages_are_close_when_less_than_a_fade_lies_between_them(gap, together):
    """From there on each has its own fades, and what lies between keeps its mask."""
    assert merge_weight(columns(400, (50, 150), (150 + gap, 300)))[150] == together


def test_no_free_passage_changes_nothing():
    """A song that sings throughout keeps its mask (the original program stopped with an error)."""
    assert not merge_weight(columns(400)).any()


class Recorded:
    """A source whose masks are known, handed out in stretches."""

    needs_from = 0

    def __init__(self, mask, steps):
        self._mask, self._steps, self._done = mask, iter(steps), 0

    def advance(self, _buffer):
        """The next stretch."""
        start = self._done
        self._done = min(self._mask.shape[-1], start + next(self._steps))
        return self._mask[..., start : self._done]


@pytest.mark.parametrize("step", [1, 7, 100, 1000])
def test_merging_a_stream_equals_merging_the_whole(step):
    """However the masks arrive, every frame gets the weight that the whole song gives it."""
    rng = np.random.default_rng(3)
    free = np.repeat(rng.random(60) < 0.75, rng.integers(5, 60, 60))
    mask = torch.rand(2, 5, len(free), generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    mask[1, 3, torch.from_numpy(~free)] = 0.01
    merged = MergedArtifacts(Recorded(mask, [step] * len(free)), len(free))
    got = torch.cat([merged.advance(FrameBuffer(len(free))) for _ in range(-(-len(free) // step))], dim=-1)
    weight = torch.from_numpy(merge_weight(free))
    torch.testing.assert_close(got, mask + weight * (1 - mask))


def test_a_mask_at_the_threshold_is_not_above_it():
    """The comparison is strict, in the mask's own precision."""
    mask = torch.full((2, 3, 200), THRESHOLD)
    merged = MergedArtifacts(Recorded(mask, [200]), 200)
    torch.testing.assert_close(merged.advance(FrameBuffer(200)), mask, rtol=0, atol=0)
    merged = MergedArtifacts(Recorded(mask * 1.001, [200]), 200)
    assert (merged.advance(FrameBuffer(200))[..., :100] == 1).all()
