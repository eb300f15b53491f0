"""Sing the vocals of the CC0 songs again as other singers, with the WORLD vocoder (package pyworld).

    python other_singers.py PAIRS OUT HOURS [SEED]

PAIRS holds the `*_vocals.npy` that `decode.py` wrote. OUT receives `.npy` files, int16 stereo at 44.1 kHz, of 18 to 36
seconds each. Unlike `resing.py` this keeps the melody and the words as they were sung: what changes is the pitch by up
to seven semitones, the tempo, and the formants by a factor of their own. Four files of ten get one or two more takes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pyworld  # type: ignore[import-untyped]

from frametx.training.recipes.mini.resing import FRAME_MS, SAMPLE_RATE, smooth, warp_formants, write

EXCERPT = 24 * SAMPLE_RATE
BLOCK = SAMPLE_RATE // 10
LOUD, SHARE_SUNG = 0.01, 0.45
"""An excerpt is taken when so large a share of its tenths of a second has this root mean square."""
VERSIONS = 4  # of one excerpt
TEMPO = (0.75, 1.5)
SEMITONES = 7.0
FORMANT_LIMITS = (-0.24, 0.26)
PITCH_LIMITS = (40.0, 1200.0)  # Hz; beyond them a frame is left without a pitch
ALONE_SHARE = 0.6
TAKES = (-12, -5, -4, 0, 0, 3, 4, 7)


def excerpt(files: list[Path], rng: np.random.Generator) -> np.ndarray:
    """Return a stretch with singing, float64 mono."""
    while True:
        samples = np.load(files[int(rng.integers(len(files)))], mmap_mode="r")
        start = int(rng.integers(0, len(samples) - EXCERPT))
        wave = np.asarray(samples[start : start + EXCERPT], dtype=np.float64).mean(axis=1) / 32768
        level = np.sqrt((wave[: EXCERPT // BLOCK * BLOCK].reshape(-1, BLOCK) ** 2).mean(axis=1))
        if (level > LOUD).mean() >= SHARE_SUNG:
            return np.asarray(wave)


def versions(wave: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return float64 stereo versions `[n, 2]` of an excerpt."""
    f0, times = pyworld.dio(wave, SAMPLE_RATE, f0_floor=70.0, f0_ceil=900.0, frame_period=FRAME_MS)
    f0 = pyworld.stonemask(wave, f0, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(wave, f0, times, SAMPLE_RATE, fft_size=2048)
    noise = pyworld.d4c(wave, f0, times, SAMPLE_RATE, fft_size=2048)
    return [version(f0, envelope, noise, rng) for _ in range(VERSIONS)]


def version(f0: np.ndarray, envelope: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sing once: another throat, another key, another tempo, perhaps more takes panned apart."""
    n_frames = int(len(f0) * rng.uniform(*TEMPO))
    index = np.linspace(0, len(f0) - 1, n_frames).astype(int)
    shift = rng.uniform(-SEMITONES, SEMITONES)
    # higher voices tend to have shorter throats
    formant = np.exp(np.clip(0.06 * shift / SEMITONES + rng.uniform(-0.2, 0.22), *FORMANT_LIMITS))
    throat = np.ascontiguousarray(np.maximum(warp_formants(envelope[index], float(formant)), 1e-16))
    breath = np.ascontiguousarray(np.clip(noise[index], 0.0, 1.0))
    drift = smooth(rng.normal(0, 1.2, n_frames), 30) * 0.3
    alone = rng.random() < ALONE_SHARE
    takes = [] if alone else [int(k) for k in rng.choice(TAKES, int(rng.integers(1, 3)), replace=False)]
    stereo = np.zeros((0, 2))
    for number, take in enumerate([0, *takes]):
        detune = rng.normal(0, 0.06) if number else 0.0
        pitch = f0[index] * 2.0 ** ((shift + take + drift + detune) / 12)
        pitch[(pitch < PITCH_LIMITS[0]) | (pitch > PITCH_LIMITS[1])] = 0.0
        sung = pyworld.synthesize(pitch, throat, breath, SAMPLE_RATE, FRAME_MS)
        if number == 0:
            stereo = np.stack([sung, sung], axis=1)
            continue
        sung = np.roll(sung, int(rng.uniform(-0.03, 0.03) * SAMPLE_RATE))
        pan, gain = rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.0)
        stereo += gain * sung[:, None] * np.sqrt([2 * (1 - pan), 2 * pan])
    return stereo * (0.8 / max(1e-6, float(np.abs(stereo).max())))


def main() -> None:
    """Sing until there are HOURS of it."""
    pairs, out, hours = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    rng = np.random.default_rng(seed)
    files = sorted(pairs.glob("*_vocals.npy"))
    done, number, began = 0.0, 0, time.monotonic()
    while done < hours * 3600:
        for stereo in versions(excerpt(files, rng), rng):
            write(out / f"{seed:03d}_{number:04d}.npy", stereo)
            done, number = done + len(stereo) / SAMPLE_RATE, number + 1
        sys.stdout.write(f"{done / 60:.1f} min sung in {(time.monotonic() - began) / 60:.1f} min\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
