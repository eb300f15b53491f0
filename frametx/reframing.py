"""Models with different STFTs in one ensemble: all windows come from the longest STFT, and each model reads its own.

A frame is a piece of the song under a window. The inner half of a frame of 4096 samples, its own window taken off and a
shorter one put on, is the frame of 2048 samples with the same centre: so a shorter STFT with the same hop is computed from
the longer one, without the song. What a model answers is brought to the longer one's bins, between two of its own in
proportion; where the bins coincide, every second one here, its mask stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frametx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from frametx.spectrum import Framing
    from frametx.stream import WindowFeeder


def common_framing(framings: Collection[Framing]) -> Framing:
    """The STFT from which all of these can be computed: the longest of them.

    Raises:
        UsageError: Their hops differ, or a window is no multiple of another.
    """
    longest = max(framings)
    if any(framing.hop != longest.hop or longest.n_fft % framing.n_fft for framing in framings):
        raise UsageError(
            f"these models use STFTs that do not go together (window/hop: {', '.join(map(str, sorted(framings)))})",
            "run them one by one",
        )
    return longest


class ReframedFeeder:
    """Feeds a model windows of a longer STFT than its own.

    Args:
        feeder: Feeds windows of the model's own STFT.
        inner: That STFT.
        outer: The STFT that windows come in and masks go out in; one that `common_framing` gave.
    """

    def __init__(self, feeder: WindowFeeder, inner: Framing, outer: Framing) -> None:
        self._feeder = feeder
        self._inner = inner
        self._outer = outer
        self._ratio = outer.n_fft // inner.n_fft

    def __call__(self, windows: Tensor, inside: Tensor) -> Tensor:
        """Float32 masks `[b 2 f t]` of windows, complex `[b 2 f t]`, with `inside` bool `[b t]`; see `Feeder`."""
        return self._spread(self._feeder(reframed(windows, self._outer, self._inner), inside))

    def _spread(self, mask: Tensor) -> Tensor:
        """A mask at the bins of the longer STFT; above the last bin it stays the same."""
        above = torch.cat([mask[..., 1:, :], mask[..., -1:, :]], dim=-2)
        parts = [torch.lerp(mask, above, step / self._ratio) for step in range(self._ratio)]
        return torch.stack(parts, dim=-2).flatten(-3, -2)


def reframed(windows: Tensor, outer: Framing, inner: Framing) -> Tensor:
    """Frames of a shorter STFT, computed from those of a longer one.

    Args:
        windows: Complex `[... f t]`, without the highest bin, whose little energy is lost.
        outer: Their STFT.
        inner: The STFT wanted: of the same hop, its window a part of the other's.

    Returns:
        Complex `[... f t]`, without the highest bin.
    """
    skipped = (outer.n_fft - inner.n_fft) // 2
    long, short = (
        torch.hann_window(framing.n_fft, dtype=torch.float32, device=windows.device) for framing in (outer, inner)
    )
    window = short / long[skipped : skipped + inner.n_fft]
    samples = torch.fft.irfft(windows.transpose(-1, -2), n=outer.n_fft)[..., skipped : skipped + inner.n_fft]
    spectrum: Tensor = torch.fft.rfft(samples * window)
    return spectrum[..., :-1].transpose(-1, -2)
