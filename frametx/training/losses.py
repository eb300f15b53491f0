"""The loss: a weighted sum of terms, each relative to the mixture.

Being relative, a quiet crop counts as much as a loud one and a weight means the same in every term. L1 on magnitudes alone
tends to end at a mask of 1 everywhere; square roots of both stems' magnitudes, where quiet parts count, keep it from that.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from frametx.errors import TrainingError
from frametx.spectrum import SAMPLE_RATE, Framing

if TYPE_CHECKING:
    from frametx.training.config import LossConfig
    from frametx.training.spectra import Spectra

INAUDIBLE = 1e-2
"""Energy of an error, relative to the mixture, below which it counts no more: SDR is lost above it."""
TINY = 1e-7  # of the song's peak: keeps roots differentiable


class SeparationLoss(nn.Module):
    """Holds a mask against the true stems.

    Args:
        config: Weights of the terms.
        framing: The STFT.

    Raises:
        TrainingError: The mel term is wanted and torchaudio does not work here.
    """

    def __init__(self, config: LossConfig, framing: Framing) -> None:
        super().__init__()
        self.config = config
        self.framing = framing
        self.register_buffer("window", torch.hann_window(framing.n_fft), persistent=False)
        self.window: Tensor
        bands = mel_bands(framing.n_fft, config.mel_bands) if config.mel else torch.empty(0)
        self.register_buffer("bands", bands, persistent=False)
        self.bands: Tensor

    def forward(self, mask: Tensor, spectra: Spectra) -> dict[str, Tensor]:
        """Compare.

        Args:
            mask: The instrumental's share `[b c f t]`, 0..1.
            spectra: The true stems.

        Returns:
            The weighted terms by name, scalars; their sum is the loss.
        """
        mix = spectra.mix
        magnitude = mix.abs()
        estimate = mask * magnitude
        scale = magnitude.mean(dim=(1, 2, 3), keepdim=True) + TINY
        weights = {
            name: getattr(self.config, name) for name in ("complex", "energy", "root", "magnitude", "mel", "wave")
        }
        terms = {}
        if weights["complex"]:
            terms["complex"] = self._complex(mask, mix, spectra.instrumental, scale)
        if weights["energy"]:
            terms["energy"] = self._energy(mask * mix - spectra.instrumental, mix)
        if weights["root"]:
            terms["root"] = self._root(estimate, magnitude, spectra)
        if weights["magnitude"]:
            terms["magnitude"] = ((estimate - spectra.instrumental.abs()).abs() / scale).mean()
        if weights["mel"]:
            terms["mel"] = self._mel(estimate, spectra.instrumental.abs(), magnitude)
        if weights["wave"]:
            terms["wave"] = self._wave(mask * mix - spectra.instrumental, mix)
        return {name: weights[name] * term for name, term in terms.items()}

    @staticmethod
    def _complex(mask: Tensor, mix: Tensor, instrumental: Tensor, scale: Tensor) -> Tensor:
        """Absolute error of the masked spectrum; by construction it is the same for both stems."""
        error = torch.view_as_real(mask * mix - instrumental).square().sum(-1)
        return ((error + TINY**2).sqrt() / scale).mean()

    @staticmethod
    def _energy(error: Tensor, mix: Tensor) -> Tensor:
        """Logarithm of the error's energy relative to the mixture; flat where nobody hears the error any more."""
        wrong, whole = (torch.view_as_real(x).square().sum(dim=(1, 2, 3, 4)) for x in (error, mix))
        return (wrong / (whole + TINY) + INAUDIBLE).log().mean()

    @staticmethod
    def _root(estimate: Tensor, magnitude: Tensor, spectra: Spectra) -> Tensor:
        scale = (magnitude + TINY).sqrt().mean(dim=(1, 2, 3), keepdim=True)
        rest = (magnitude - estimate).clamp(min=0)
        played = ((estimate + TINY).sqrt() - (spectra.instrumental.abs() + TINY).sqrt()).abs()
        sung = ((rest + TINY).sqrt() - (spectra.vocals.abs() + TINY).sqrt()).abs()
        return ((played + sung) / scale).mean()

    def _mel(self, estimate: Tensor, truth: Tensor, magnitude: Tensor) -> Tensor:
        estimated, true, mixed = (torch.einsum("bcft,fm->bcmt", x, self.bands) for x in (estimate, truth, magnitude))
        return ((estimated - true).abs() / (mixed.mean(dim=(1, 2, 3), keepdim=True) + TINY)).mean()

    def _wave(self, error: Tensor, mix: Tensor) -> Tensor:
        """Absolute error of the waveform."""
        scale = self._waveform(mix).abs().mean(dim=(1, 2), keepdim=True) + TINY
        return (self._waveform(error).abs() / scale).mean()

    def _waveform(self, spectrum: Tensor) -> Tensor:
        b, c, _, t = spectrum.shape
        whole = torch.cat([spectrum, spectrum.new_zeros(b, c, 1, t)], dim=2).flatten(0, 1)
        wave = torch.istft(whole, self.framing.n_fft, self.framing.hop, window=self.window)
        return wave.view(b, c, -1)


def mel_bands(n_fft: int, n_bands: int) -> Tensor:
    """Triangular mel filters `[f m]` without the Nyquist bin; filters between two bins are left out.

    Raises:
        TrainingError: torchaudio does not work here.
    """
    try:
        from torchaudio.functional import melscale_fbanks  # noqa: PLC0415  (its wheel may not fit this torch)
    except (ImportError, OSError) as error:
        raise TrainingError(
            f"loss.mel needs torchaudio, which does not work here: {error}",
            "install one for this torch, or set mel = 0",
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the filters that are left out below
        bands: Tensor = melscale_fbanks(n_fft // 2, 0.0, SAMPLE_RATE / 2, n_bands, SAMPLE_RATE)
    return bands[:, bands.sum(dim=0) > 0]
