"""Does a device compute what the CPU computes? Some have returned silence or the mix, without an error."""

from __future__ import annotations

import torch
from torch import Tensor

from frametx.models.v10 import V10
from frametx.spectrum import StreamingISTFT, StreamingSTFT, count_frames, magnitudes
from frametx.stream import FrameBuffer

TOLERANCE = 1e-2
"""Largest difference; float32 on two devices differs by 1e-5, TF32 by 1e-3, a broken kernel by 0.1 and more."""

_N_FFT, _HOP = 256, 64


def difference_from_cpu(device: torch.device) -> float:
    """Run a tiny network, and transforms there and back, on the device and on the CPU.

    Returns:
        The largest difference between the masks, in 0..1, or between the samples, full scale 1.
    """
    generator = torch.Generator().manual_seed(0)
    return max(_difference_of_masks(device, generator), _difference_of_samples(device, generator))


def _difference_of_masks(device: torch.device, generator: torch.Generator) -> float:
    network = V10(n_fft=256, embedding=2, num_heads=4, expansion=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * max(1, parameter[0].numel()) ** -0.5)
    magnitude = torch.rand(1, 2, 128, 96, generator=generator)
    with torch.inference_mode():
        expected = torch.sigmoid(network(magnitude))
        got = torch.sigmoid(network.to(device)(magnitude.to(device))).cpu()
    return _largest(got - expected)


def _difference_of_samples(device: torch.device, generator: torch.Generator) -> float:
    """Of a song that comes back whole, and of the share of it that a mask leaves."""
    song = torch.rand(2, 50 * _HOP, generator=generator) * 2 - 1
    whole, masked = _there_and_back(song, device)
    _, expected = _there_and_back(song, torch.device("cpu"))
    return max(_largest(whole - song), _largest(masked - expected))


def _there_and_back(song: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """A song after both transforms, with all of its spectrum and with the loud part; float32 `[c n]` on the CPU."""
    stft, buffer = StreamingSTFT(_N_FFT, _HOP, device), FrameBuffer(count_frames(song.shape[-1], _HOP))
    for half in song.to(device).chunk(2, dim=-1):
        buffer.append(stft.push(half))
    buffer.append(stft.finish())
    around = magnitudes(buffer.window(-8, buffer.stop + 8))
    mask = (around / around.amax())[..., 8:-8]
    frames = buffer.take(0, buffer.stop)
    return _back(frames, device), _back(frames * mask, device)


def _back(frames: Tensor, device: torch.device) -> Tensor:
    istft = StreamingISTFT(_N_FFT, _HOP, device)
    return torch.cat([istft.push(frames), istft.finish()], dim=-1).cpu()


def _largest(difference: Tensor) -> float:
    largest = difference.abs().max()
    return float(largest) if bool(torch.isfinite(largest)) else float("inf")


def agrees_with_cpu(device: torch.device) -> bool:
    """Whether the device can be trusted; one that raises cannot."""
    try:
        return difference_from_cpu(device) <= TOLERANCE
    except (RuntimeError, NotImplementedError):
        return False
