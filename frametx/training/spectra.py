"""From waveforms of a batch to what networks read and losses compare; on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frametx.models.network import Feeding, Network
from frametx.spectrum import Framing, middle_and_side

HISTORY_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Spectra:
    """Complex spectra of a batch, divided by the songs' peak magnitudes, without the Nyquist bin.

    Attributes:
        instrumental: `[b c f t]`.
        vocals: `[b c f t]`.
    """

    instrumental: Tensor
    vocals: Tensor

    @property
    def mix(self) -> Tensor:
        """The sum of both."""
        return self.instrumental + self.vocals

    def last(self, n_frames: int) -> Spectra:
        """The last frames alone."""
        return Spectra(self.instrumental[..., -n_frames:], self.vocals[..., -n_frames:])


def samples_for(network: Network, n_frames: int) -> int:
    """Samples an item needs so that the network gets `n_frames` frames (and, if it looks back, those before)."""
    windows = HISTORY_WINDOWS if network.feeding is Feeding.HISTORY else 1
    return (windows * n_frames - 1) * network.framing.hop + network.framing.n_fft


def spectra_of(stems: Tensor, headroom_db: Tensor, framing: Framing) -> Spectra:
    """Transform stems.

    Args:
        stems: Instrumental and vocals, `[b 2 c n]` with `n = (t - 1) * hop + n_fft`.
        headroom_db: By how much the song's peak lies above the crop's, `[b]`.
        framing: The STFT.
    """
    b, s, c, n = stems.shape
    window = torch.hann_window(framing.n_fft, device=stems.device)
    flat = stems.reshape(b * s * c, n)
    spectrum = torch.stft(flat, framing.n_fft, framing.hop, window=window, center=False, return_complex=True)
    spectrum = spectrum[:, :-1].reshape(b, s, c, framing.n_bins, -1)
    peak = spectrum.sum(dim=1).abs().amax(dim=(1, 2, 3)) * 10 ** (headroom_db / 20)
    spectrum = spectrum / peak.clamp(min=1e-6).view(b, 1, 1, 1, 1)
    return Spectra(spectrum[:, 0], spectrum[:, 1])


def feed(network: Network, spectra: Spectra, n_frames: int) -> Tensor:
    """What the network reads `[b in f t]`; a network that looks back is fed the true instrumentals."""
    mix = spectra.mix
    magnitude = mix.abs()
    if network.feeding is Feeding.MAGNITUDE_AND_PHASE:
        return torch.cat([magnitude, (mix.angle() + math.pi) / (2 * math.pi)], dim=1)
    if network.feeding is Feeding.MAGNITUDE_AND_MIDDLE:
        return torch.cat([magnitude, middle_and_side(mix).abs()], dim=1)
    if network.feeding is Feeding.HISTORY:
        second, first, now = torch.split(magnitude, n_frames, dim=-1)
        played_second, played_first, _ = torch.split(spectra.instrumental.abs(), n_frames, dim=-1)
        return torch.cat([now, first, played_first, second, played_second], dim=1)
    return magnitude
