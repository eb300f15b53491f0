"""Estimates of how long a job takes."""

from __future__ import annotations

import pytest

from frametx import Separator, estimate
from frametx.windows import WindowOptions


@pytest.mark.parametrize(
    ("windows", "seen_per_owned"),
    [(WindowOptions(crop=64, context=0), 1.0), (WindowOptions(crop=64, context=64), 3.0)],
)
def test_an_estimate_counts_every_frame_that_a_network_sees(tiny_checkpoint, monkeypatch, windows, seen_per_owned):
    """At a millisecond a frame, a song costs its frames, thrice where windows see thrice what they own."""
    monkeypatch.setattr(estimate, "_seconds_per_frame", lambda _: 0.001)
    maskers = Separator(tiny_checkpoint, device="cpu").maskers
    n_frames = 1000 * 44_100 / 128
    assert estimate.network_seconds(maskers, windows, 1000.0) == pytest.approx(
        seen_per_owned * n_frames / 1000, rel=0.01
    )


def test_the_pace_of_a_network_is_measured(tiny_checkpoint):
    """Without a stand-in the estimate is a positive time, also for an hour and for an ensemble."""
    maskers = Separator(tiny_checkpoint, device="cpu").maskers
    assert estimate.network_seconds(maskers * 2, WindowOptions(), 3600.0) > 0
