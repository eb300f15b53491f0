"""How long a job will take, found by timing one short window of each model."""

from __future__ import annotations

import time

import torch

from frametx.masker import Masker
from frametx.spectrum import SAMPLE_RATE
from frametx.windows import WindowOptions, plans

PROBE_FRAMES = 128
LONG_SECONDS = 60.0
"""From here on a person wants to be told before."""
MOST_SPEED = 4.0
"""Times real time that no large network exceeds on a CPU; what is shorter is not worth an estimate."""


def network_seconds(maskers: list[Masker], options: WindowOptions, seconds: float) -> float:
    """About how long the networks need for a song.

    The time of a window is taken as proportional to its width, which is too little where attention over wide windows
    dominates: the estimate is a lower bound that is right within a factor of 1.5 for the released sizes.

    Args:
        maskers: The models.
        options: Windows.
        seconds: Length of the song.

    Returns:
        Seconds.
    """
    total = 0.0
    for masker in maskers:
        network = masker.network
        n_frames = max(1, round(seconds * SAMPLE_RATE / network.framing.hop))
        n_seen = sum(chunk.width for plan in plans(masker.name, network, options, n_frames) for chunk in plan.chunks)
        total += n_seen * _seconds_per_frame(masker)
    return total


def _seconds_per_frame(masker: Masker) -> float:
    network = masker.network
    width = network.fitting_width(PROBE_FRAMES)
    window = torch.rand(1, network.in_channels, network.n_bins, width, device=masker.device)
    with torch.inference_mode():
        network(window[..., : network.fitting_width(1)])  # what is set up at the first call is not the network's pace
        started = time.perf_counter()
        network(window).cpu()  # waits for the device
    return (time.perf_counter() - started) / width
