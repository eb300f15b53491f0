"""The streaming transforms are the whole-song transforms."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from frametx.spectrum import StreamingISTFT, StreamingSTFT, count_frames

N_FFT, HOP = 256, 128

lengths = st.integers(1, 5 * N_FFT)
block_sizes = st.lists(st.integers(1, 3 * N_FFT), min_size=1, max_size=5)


def noise(n_samples: int) -> torch.Tensor:
    return torch.rand(2, n_samples, generator=torch.Generator().manual_seed(n_samples)) * 2 - 1


def in_blocks(samples: torch.Tensor, sizes: list[int]):
    start, index = 0, 0
    while start < samples.shape[-1]:
        yield samples[:, start : start + sizes[index % len(sizes)]]
        start += sizes[index % len(sizes)]
        index += 1


def streamed_spectrum(samples: torch.Tensor, sizes: list[int], n_fft: int = N_FFT, hop: int = HOP) -> torch.Tensor:
    stft = StreamingSTFT(n_fft, hop)
    parts = [stft.push(block) for block in in_blocks(samples, sizes)]
    return torch.cat([*parts, stft.finish()], dim=-1)


@settings(deadline=None)
@given(lengths, block_sizes)
def test_streamed_frames_equal_the_transform_of_the_whole_song(n_samples, sizes):
    """Whatever the blocks, the frames are those of torch.stft on the song extended to a multiple of the hop."""
    samples = noise(n_samples)
    extended = F.pad(samples, (0, -n_samples % HOP))
    window = torch.hann_window(N_FFT)
    whole = torch.stft(extended, N_FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    streamed = streamed_spectrum(samples, sizes)
    assert streamed.shape == whole.shape
    assert streamed.shape[-1] == count_frames(n_samples, HOP)
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)


@settings(deadline=None)
@given(lengths, block_sizes, st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sampled_from([HOP, HOP // 2]))
def test_frames_turned_back_are_the_song(n_samples, sizes, frame_counts, hop):
    """The inverse transform returns every sample, however the frames are grouped, at full and at half hop."""
    samples = noise(n_samples)
    spectrum = streamed_spectrum(samples, sizes, hop=hop)
    istft = StreamingISTFT(N_FFT, hop)
    parts, start, index = [], 0, 0
    while start < spectrum.shape[-1]:
        n_frames = frame_counts[index % len(frame_counts)]
        parts.append(istft.push(spectrum[..., start : start + n_frames]))
        start, index = start + n_frames, index + 1
    back = torch.cat([*parts, istft.finish()], dim=-1)[:, :n_samples]
    torch.testing.assert_close(back, samples, atol=1e-5, rtol=0)


def test_masked_frames_stay_bounded_to_the_last_sample():
    """A random mask never blows up the song's tail, whatever the length: the song was extended before the transform."""
    for n_samples in (1, 129, 1000, 1151):
        spectrum = streamed_spectrum(noise(n_samples), [HOP])
        mask = torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(0))
        istft = StreamingISTFT(N_FFT, HOP)
        back = torch.cat([istft.push(spectrum * mask), istft.finish()], dim=-1)
        assert back.abs().max() < 4
