"""Streaming STFT and ISTFT: block by block, equal to the transform of the whole song.

The window is a periodic Hann window of `n_fft` samples, frames are centred (zeros stand before the song and behind it),
nothing is scaled: `torch.stft(..., center=True, pad_mode="constant")` of the song zero-extended to a multiple of the hop.
The extension matters: a masked spectrogram that ends anywhere else would be divided by almost nothing in its last samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE = 44100
"""The rate that all networks were trained at, in Hz."""


@dataclass(frozen=True, slots=True, order=True)
class Framing:
    """How a song is cut into frames.

    Attributes:
        n_fft: Samples of a frame's window.
        hop: Samples between frames; divides `n_fft`.
    """

    n_fft: int
    hop: int

    @property
    def n_bins(self) -> int:
        """Bins that networks see: all but the highest."""
        return self.n_fft // 2

    def __str__(self) -> str:
        return f"{self.n_fft}/{self.hop}"


def count_frames(n_samples: int, hop: int) -> int:
    """Number of STFT frames of a song of `n_samples` samples, extended to a multiple of `hop`."""
    return -(-n_samples // hop) + 1


def magnitudes(spectrum: Tensor) -> Tensor:
    """The absolute values of complex numbers of any shape."""
    if spectrum.is_cpu:
        return torch.from_numpy(np.abs(spectrum.numpy()))  # eight times as fast as torch's
    return spectrum.abs()


def middle_and_side(spectrum: Tensor) -> Tensor:
    """Half the sum and half the difference of left and right, of `[b 2 f t]`."""
    left, right = spectrum.unbind(1)
    return torch.stack((left + right, left - right), dim=1) / 2


@cache
def _hann_window(n_fft: int, device: str) -> Tensor:
    """Made once: in a folder of short songs it would be two milliseconds a song."""
    return torch.hann_window(n_fft, dtype=torch.float32, device=device)


class StreamingSTFT:
    """Turns blocks of samples into spectrogram frames as soon as they are complete.

    Args:
        n_fft: Window length in samples; even.
        hop: Samples between frames; divides `n_fft`.
        device: Where the transform is computed.
    """

    def __init__(self, n_fft: int, hop: int, device: torch.device | str = "cpu") -> None:
        self.n_fft = n_fft
        self.hop = hop
        self._window = _hann_window(n_fft, str(device))
        self._held: Tensor | None = None  # [c n] samples that later frames still need
        self._n_samples = 0

    def push(self, samples: Tensor) -> Tensor:
        """Take a block `[c n]`, float32, of any length; return the frames it completed, complex `[c f t]`, t >= 0."""
        self._n_samples += samples.shape[-1]
        if self._held is None:
            self._held = samples.new_zeros(samples.shape[0], self.n_fft // 2)
        self._held = torch.cat([self._held, samples], dim=-1)
        return self._transform()

    def finish(self) -> Tensor:
        """Return the last frames, complex `[c f t]`; the stream is over."""
        if self._held is None:
            raise ValueError("finish() before any samples")
        missing = -self._n_samples % self.hop
        self._held = F.pad(self._held, (0, missing + self.n_fft // 2))
        return self._transform()

    def _transform(self) -> Tensor:
        assert self._held is not None
        n_frames = max(0, (self._held.shape[-1] - self.n_fft) // self.hop + 1)
        if n_frames == 0:
            return torch.zeros(
                self._held.shape[0], self.n_fft // 2 + 1, 0, dtype=torch.complex64, device=self._held.device
            )
        ready = self._held[:, : (n_frames - 1) * self.hop + self.n_fft]
        self._held = self._held[:, n_frames * self.hop :]
        return torch.stft(ready, self.n_fft, self.hop, window=self._window, center=False, return_complex=True)


class StreamingISTFT:
    """Turns spectrogram frames back into samples: overlap-add, divided by the sum of the squared windows.

        frame 0  |----|----|             each frame adds n_fft samples; the first n_fft/2 samples stand
        frame 1       |----|----|        before the song and are dropped; a sample is final when no
        frame 2            |----|----|   later frame reaches it
        emitted       |----|----|

    Args:
        n_fft: Window length in samples; even.
        hop: Samples between frames; divides `n_fft`.
        device: Where the transform is computed.
    """

    def __init__(self, n_fft: int, hop: int, device: torch.device | str = "cpu") -> None:
        self.n_fft = n_fft
        self.hop = hop
        self._window = _hann_window(n_fft, str(device))
        # samples that later frames add to, and the squared windows under them, in segments of one hop: [c s hop]
        self._sum: Tensor | None = None
        self._weight = torch.zeros(1, n_fft // hop - 1, hop, dtype=torch.float32, device=device)
        self._to_drop = n_fft // (2 * hop)  # segments that stand before the song

    def push(self, spectrum: Tensor) -> Tensor:
        """Take frames, complex `[c f t]`; return the samples that are final now, float32 `[c n]`, n >= 0."""
        n_channels, _, n_frames = spectrum.shape
        if self._sum is None:
            self._sum = self._weight.new_zeros(n_channels, *self._weight.shape[1:])
        if n_frames == 0:
            return self._sum[:, :0, 0]
        frames = torch.fft.irfft(spectrum.transpose(1, 2), n=self.n_fft, dim=2) * self._window
        total = self._overlap_add(self._sum, frames)
        weight = self._overlap_add(self._weight, (self._window**2).expand(1, n_frames, -1))
        # a view would keep the whole stretch alive
        self._sum, self._weight = total[:, n_frames:].clone(), weight[:, n_frames:].clone()
        return self._drop_lead(total[:, :n_frames], weight[:, :n_frames])

    def finish(self) -> Tensor:
        """Return the samples up to the last frame's centre that were not emitted yet, float32 `[c n]`."""
        if self._sum is None:
            raise ValueError("finish() before any frames")
        n_left = self.n_fft // (2 * self.hop) - 1
        return self._drop_lead(self._sum[:, :n_left], self._weight[:, :n_left])

    def _overlap_add(self, held: Tensor, frames: Tensor) -> Tensor:
        """Add frames `[c t n_fft]`, placed one segment apart, to the segments held `[c s hop]`: `[c t+s hop]`."""
        n_frames = frames.shape[1]
        total = F.pad(held, (0, 0, 0, n_frames))
        for index in range(self.n_fft // self.hop):
            total[:, index : index + n_frames] += frames[..., index * self.hop : (index + 1) * self.hop]
        return total

    def _drop_lead(self, total: Tensor, weight: Tensor) -> Tensor:
        drop = min(self._to_drop, total.shape[1])
        self._to_drop -= drop
        return (total[:, drop:] / weight[:, drop:]).flatten(1)
