"""Voices in the background: without them a network learns singers who stand alone, and leaves choirs in the instrumental."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from frametx.song_samples import Samples

GRAIN, STEP = 8192, 2048
SCALES = ((0, 2, 4, 5, 7, 9, 11, 12), (0, 2, 3, 5, 7, 8, 10, 12))
ROOTS = (0, -2, 2, -5, 5, -3, 3, 7)
CHORD_SECONDS = (0.5, 4.0)
FASTEST = 0.35
"""How fast the voice moves on while it is held, beside its own pace."""
DETUNED = 0.08  # semitones
SCATTER = (100.0, 1500.0)
"""Samples by which grains are off: few make one voice, many a crowd."""


def held_chord(samples: Samples, rng: np.random.Generator) -> Samples:
    """Let two to five voices made of grains of one voice `[2 n]` hold chords.

    A silent voice stays silent; what comes out lies in scales that begin at the voice's own pitch.
    """
    n_samples = samples.shape[1]
    n_grains = n_samples // STEP + GRAIN // STEP
    scale = SCALES[int(rng.integers(len(SCALES)))]
    lasts = max(1, int(rng.uniform(*CHORD_SECONDS) * SAMPLE_RATE / STEP))
    root = rng.choice(ROOTS, n_grains // lasts + 2).repeat(lasts)[int(rng.integers(lasts)) :][:n_grains]
    held = np.zeros((2, n_samples), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        note = scale[int(rng.integers(len(scale)))] - 12 * int(rng.random() < 0.25)
        angle = rng.uniform(0, np.pi / 2)
        gain = np.sqrt(2) * rng.uniform(0.4, 1.0) * np.array([[np.cos(angle)], [np.sin(angle)]])
        held += gain.astype(np.float32) * _held(samples, note + root + rng.normal(0, DETUNED), rng)
    return held


def _held(samples: Samples, semitones: np.ndarray, rng: np.random.Generator) -> Samples:
    """One voice: for every grain `[g]` so many semitones higher."""
    n_samples, n_grains = samples.shape[1], len(semitones)
    pace = rng.uniform(0.0, FASTEST) * STEP
    centres = _loud_place(samples, rng) + np.arange(n_grains) * pace
    centres += rng.normal(0, rng.uniform(*SCATTER), n_grains)
    centres = np.abs((centres + n_samples) % (2 * n_samples) - n_samples)  # back and forth
    ratios = 2.0 ** (semitones / 12)
    places = centres[:, None] + (np.arange(GRAIN) - GRAIN / 2) * ratios[:, None]
    grains = _read(samples, places) * np.hanning(GRAIN).astype(np.float32)
    out = np.zeros((2, n_grains + GRAIN // STEP, STEP), np.float32)
    for k, part in enumerate(np.split(grains, GRAIN // STEP, axis=2)):
        out[:, k : k + n_grains] += part
    return out.reshape(2, -1)[:, GRAIN // 2 :][:, :n_samples]


def _loud_place(samples: Samples, rng: np.random.Generator) -> int:
    """Draw a sample, the likelier the louder its surroundings."""
    n_parts = samples.shape[1] // STEP
    parts = samples[:, : n_parts * STEP].astype(float).reshape(2, n_parts, STEP)
    rms = np.sqrt(np.square(parts).mean(axis=(0, 2)))
    return int(rng.choice(len(rms), p=rms / rms.sum())) * STEP if rms.sum() > 0 else 0


def _read(samples: Samples, places: np.ndarray) -> Samples:
    """Samples at broken places `[g n]`, linearly interpolated; silence beyond the ends. Returns `[2 g n]`."""
    padded = np.pad(samples, ((0, 0), (1, 1)))
    places = np.clip(places + 1, 0, padded.shape[1] - 1.001)
    before = places.astype(np.int64)
    share = (places - before).astype(np.float32)
    return padded[:, before] * (1 - share) + padded[:, before + 1] * share
