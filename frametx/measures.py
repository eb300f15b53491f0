"""How close an estimated stem is to the true one.

All of them take samples `[c n]` and judge all channels together, as listeners hear them.

Sources:
- SDR over the whole signal: the music demixing challenges (Mitsufuji et al. 2022)
- SDR by second: the image SDR of BSSEval v4 (Stöter, Liutkus, Ito 2018), whose three errors sum to `estimate - truth`, so
  that it is the same ratio on frames of one second; the median over frames in which neither is silent
- SI-SDR: Le Roux et al. 2019
- fullness and bleedless: after the measures of the separation community, here on sixth-octave bands
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frametx.song_samples import Samples

SILENCE = 1e-10
"""Energy a sample below which a stretch counts as silent (-100 dB of full scale)."""
N_FFT = 2048
HOP = 1024
BAND_FLOOR_DB = -60.0  # below the mixture's loudest band; what is quieter is not heard
BANDS_PER_OCTAVE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is measured on one stem; None where it has no meaning, because the true stem is silent.

    Attributes:
        sdr: Signal to distortion over the whole signal, dB.
        sdr_median: The same by second, the median, dB.
        si_sdr: Scale-invariant, dB.
        l1: Mean absolute difference of the STFT magnitudes (2048 samples, Hann, unscaled).
        fullness: 100 when nothing of the stem is missing: `100 / (1 + mean dB missing)`.
        bleedless: 100 when nothing foreign is left in it: `100 / (1 + mean dB too much)`.
        leakage: What is in the estimate of a silent stem, dB relative to the mixture.
    """

    sdr: float | None
    sdr_median: float | None
    si_sdr: float | None
    l1: float
    fullness: float | None
    bleedless: float | None
    leakage: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """The measures by name."""
        return asdict(self)


def measure(truth: Samples, estimate: Samples, mix: Samples) -> Measures:
    """Take all measures of one stem.

    Args:
        truth: The true stem `[c n]`.
        estimate: What is judged `[c n]`.
        mix: What it was separated from `[c n]`; it sets what is loud.
    """
    magnitude, estimated = _magnitude(truth), _magnitude(estimate)
    difference = float(np.abs(magnitude - estimated).mean())
    if is_silent(truth):
        leakage = decibel(_energy(estimate), _energy(mix))
        return Measures(
            sdr=None, sdr_median=None, si_sdr=None, l1=difference, fullness=None, bleedless=None, leakage=leakage
        )
    fullness, bleedless = _leakage_both_ways(magnitude, estimated, _magnitude(mix))
    return Measures(
        sdr=sdr(truth, estimate),
        sdr_median=sdr_median(truth, estimate),
        si_sdr=si_sdr(truth, estimate),
        l1=difference,
        fullness=fullness,
        bleedless=bleedless,
    )


def sdr(truth: Samples, estimate: Samples) -> float:
    """Energy of the truth over the energy of the error, dB."""
    return decibel(_energy(truth), _energy(estimate - truth))


def sdr_median(truth: Samples, estimate: Samples, frame_seconds: float = 1.0) -> float | None:
    """Median of `sdr` over frames in which neither is silent; None when there is no such frame."""
    size = round(frame_seconds * SAMPLE_RATE)
    found = []
    for start in range(0, truth.shape[1] - size + 1, size):
        true, guessed = truth[:, start : start + size], estimate[:, start : start + size]
        if not is_silent(true) and not is_silent(guessed):
            found.append(sdr(true, guessed))
    return float(np.median(found)) if found else None


def si_sdr(truth: Samples, estimate: Samples) -> float:
    """SDR after the best scaling of the truth, the channels taken as one long signal, dB."""
    x, y = truth.astype(np.float64).ravel(), estimate.astype(np.float64).ravel()
    target = (x @ y) / (x @ x) * x
    error = y - target
    return decibel(float(target @ target), float(error @ error))


def decibel(energy: float, other: float) -> float:
    """Ratio of two energies in dB, kept finite: from -120 to 120."""
    tiny = 1e-30
    return float(np.clip(10 * np.log10((energy + tiny) / (other + tiny)), -120.0, 120.0))


def is_silent(samples: Samples) -> bool:
    """Whether there is nothing to hear."""
    return samples.size == 0 or _energy(samples) < SILENCE * samples.size


def _energy(samples: Samples) -> float:
    return float(np.sum(np.square(samples, dtype=np.float64)))


def _magnitude(samples: Samples) -> NDArray[np.float32]:
    """STFT magnitude `[c f t]`."""
    wave = torch.from_numpy(np.ascontiguousarray(samples))
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(wave, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    result: NDArray[np.float32] = spectrum.abs().numpy()
    return result


def _leakage_both_ways(truth: Any, estimate: Any, mix: Any) -> tuple[float, float]:
    """Fullness and bleedless: how many dB bands lie below and above the truth, on average."""
    loudest = _bands(mix).max()
    floor = loudest * 10 ** (BAND_FLOOR_DB / 10)
    true_db, found_db = (10 * np.log10(np.maximum(_bands(x), floor)) for x in (truth, estimate))
    difference = found_db - true_db
    audible = (true_db > 10 * np.log10(floor)) | (found_db > 10 * np.log10(floor))
    n_audible = max(1, int(audible.sum()))
    missing = float(-difference[difference < 0].sum()) / n_audible
    foreign = float(difference[difference > 0].sum()) / n_audible
    return 100 / (1 + missing), 100 / (1 + foreign)


def _bands(magnitude: Any) -> NDArray[np.float64]:
    """Energy `[c band t]` of sixth-octave bands, at least one bin wide, from 40 Hz up."""
    n_bins = magnitude.shape[1]
    hertz = SAMPLE_RATE / N_FFT
    edges = 40.0 * 2.0 ** (np.arange(0, 200) / BANDS_PER_OCTAVE)
    bins = np.unique(np.clip(np.round(edges / hertz), 1, n_bins - 1).astype(int))
    return np.add.reduceat(np.square(magnitude, dtype=np.float64), bins, axis=1)
