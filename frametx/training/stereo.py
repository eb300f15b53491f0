"""Making voices wide: a network that only ever hears voices in the middle takes everything in the middle for a voice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from frametx.song_samples import Samples


REACH = round(0.05 * SAMPLE_RATE)
"""Samples that the ways of spreading look back or ahead: so near to the ends a voice breaks off and sets in."""


def spread(samples: Samples, rng: np.random.Generator) -> Samples:
    """Pan, double, decorrelate or widen stereo samples `[2 n]`, one of the four at random."""
    way = (panned, doubled, decorrelated, widened)[int(rng.choice(4, p=(0.2, 0.3, 0.3, 0.2)))]
    return np.ascontiguousarray(way(samples, rng), dtype=np.float32)


def panned(samples: Samples, rng: np.random.Generator) -> Samples:
    """Anywhere between left and right, at equal power."""
    angle = rng.uniform(0, np.pi / 2)
    return samples * np.asarray([[np.cos(angle)], [np.sin(angle)]], np.float32) * np.float32(np.sqrt(2))


def doubled(samples: Samples, rng: np.random.Generator) -> Samples:
    """A second take, a little off in pitch and time, on the other side."""
    n_samples = samples.shape[1]
    drift = min(rng.uniform(0.001, 0.008), REACH / n_samples)  # a take that is further off is another voice
    off = 1 + drift * rng.choice([-1, 1])
    late = int(rng.uniform(0.003, 0.035) * SAMPLE_RATE)
    take = soxr.resample(samples[1], SAMPLE_RATE * off, SAMPLE_RATE, quality="QQ")
    take = np.pad(take, (late, max(0, n_samples - late - len(take))))[:n_samples]
    bleed = np.float32(rng.uniform(0, 0.4))
    return np.stack([samples[0] + bleed * take, take + bleed * samples[0]])


def decorrelated(samples: Samples, rng: np.random.Generator) -> Samples:
    """Early reflections of a small room, other ones in each channel."""
    n_samples, length = samples.shape[1], int(rng.uniform(0.004, 0.05) * SAMPLE_RATE)
    decay = np.exp(-np.arange(length) / (length * rng.uniform(0.1, 0.5)))
    response = np.asarray(rng.standard_normal((2, length)) * decay)
    response *= rng.uniform(0.3, 2.0) / np.sqrt(np.square(response).sum(axis=1, keepdims=True))
    response[:, 0] += 1
    size = n_samples + length
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return wet[:, :n_samples].astype(np.float32)


def widened(samples: Samples, rng: np.random.Generator) -> Samples:
    """More side than middle; mono voices get a delayed copy of themselves as the side."""
    middle, side = (samples[0] + samples[1]) / 2, (samples[0] - samples[1]) / 2
    if np.square(side).mean() < 1e-3 * np.square(middle).mean():
        side = np.roll(middle, int(rng.uniform(0.005, 0.03) * SAMPLE_RATE)) * np.float32(rng.uniform(0.3, 1.2))
    else:
        side = side * np.float32(rng.uniform(1.0, 3.0))
    return np.stack([middle + side, middle - side])


def narrowed(samples: Samples, share: float) -> Samples:
    """Bring stereo samples nearer to mono; at a share of 1 they are mono."""
    middle = samples.mean(axis=0, keepdims=True)
    return np.asarray(samples + (middle - samples) * np.float32(share), np.float32)
