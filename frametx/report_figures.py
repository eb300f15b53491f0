"""What a report says about a result, read from the song and its stems in one pass over each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from frametx.audio.fifo import Fifo
from frametx.audio.pcm import quantise
from frametx.audio.reader import SongReader, probe
from frametx.audio.resample import Resampler
from frametx.disagreement import decibels
from frametx.errors import AudioError
from frametx.outputs import Stem
from frametx.spectrum import StreamingSTFT, count_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

N_FFT = 2048
MAX_COLUMNS = 1200
N_MEL = 128
_BLOCK_SIZE = 1 << 18
TRACKS = ("mix", Stem.INSTRUMENTAL.value, Stem.VOCALS.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measurements of a song and its stems.

    Attributes:
        sample_rate: Samples per second.
        channels: 1 or 2.
        n_samples: Samples per channel.
        power: Mean power of each track by frequency bin and column, `[f x]`: the song's time in up to MAX_COLUMNS.
        levels_db: Level of each track by column, `[x]`, dB of full scale.
        peaks: Largest absolute sample of each track, full scale is 1.
        n_clipped: Samples of each stem at full scale.
        residual: Largest absolute difference between the song and the sum of its stems; None without the song.
        n_inexact: Samples at which the sum is not the song exactly; None without the song.
        resampled_from: Rate of a song whose stems have another (a format may not have the song's), in Hz; it was
            resampled to theirs for everything that is said about it, the residual too. None where nothing was.
        bits: Bits of the stems' integers; None for floats and lossy formats.
    """

    sample_rate: int
    channels: int
    n_samples: int
    power: Mapping[str, NDArray[np.float64]]
    levels_db: Mapping[str, NDArray[np.float64]]
    peaks: Mapping[str, float]
    n_clipped: Mapping[str, int]
    residual: float | None
    n_inexact: int | None
    resampled_from: int | None
    bits: int | None

    @property
    def seconds(self) -> float:
        """Length."""
        return self.n_samples / self.sample_rate


def measure(stems: Mapping[Stem, Path], song: Path | None) -> Figures:
    """Measure finished stems, against their song where it is at hand.

    Raises:
        AudioError: A file cannot be read, or they differ in length.
    """
    info = probe(stems[Stem.VOCALS])
    song_rate = info.sample_rate if song is None else probe(song).sample_rate
    depth = info.bit_depth
    bits = depth if isinstance(depth, int) else None
    if info.n_samples is None:
        n_samples = sum(block.shape[1] for block in SongReader(stems[Stem.VOCALS]).blocks())
    else:
        n_samples = info.n_samples
    n_frames = count_frames(n_samples, N_FFT // 2)
    columns = {track: _Columns(n_frames) for track in TRACKS}
    peaks, n_clipped = dict.fromkeys(TRACKS, 0.0), dict.fromkeys(TRACKS[1:], 0)
    full_scale = 1.0 if bits is None else 1.0 - 2.0 ** (1 - bits)
    residual, n_inexact, n_read = 0.0, 0, 0
    for blocks in _together(stems, song, info.sample_rate):
        n_read += blocks[TRACKS[1]].shape[1]
        for track in TRACKS:
            columns[track].push(blocks[track])
            peaks[track] = max(peaks[track], float(np.abs(blocks[track]).max(initial=0.0)))
            if track != "mix":
                n_clipped[track] += int(np.count_nonzero(np.abs(blocks[track]) >= full_scale))
        if song is not None:
            difference = _difference(blocks, bits)
            residual = max(residual, float(np.abs(difference).max(initial=0.0)))
            n_inexact += int(np.count_nonzero(np.abs(difference) > (0 if bits is not None else 1e-6)))
    power = {track: columns[track].finish() for track in TRACKS}
    return Figures(
        sample_rate=info.sample_rate,
        channels=info.channels,
        n_samples=n_read,
        power=power,
        levels_db={track: decibels(_mean_square(values), 1.0) for track, values in power.items()},
        peaks=peaks,
        n_clipped=n_clipped,
        residual=None if song is None else residual,
        n_inexact=None if song is None else n_inexact,
        resampled_from=None if song_rate == info.sample_rate else song_rate,
        bits=bits,
    )


def mel_scale(power: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Sum bins `[f x]` into triangular bands of equal width in mel, `[m x]`: 2595 log10(1 + f / 700) (O'Shaughnessy).

    Bands narrower than a bin take the value of the spectrum at their centre, interpolated.
    """
    n_bins = power.shape[0]
    top = 2595.0 * np.log10(1.0 + sample_rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, N_MEL + 2) / 2595.0) - 1.0)
    bins = edges / (sample_rate / 2) * (n_bins - 1)
    at = np.arange(n_bins)
    bands = np.empty((N_MEL, power.shape[1]))
    for index in range(N_MEL):
        low, centre, high = bins[index : index + 3]
        weight = np.minimum((at - low) / (centre - low), (high - at) / (high - centre)).clip(0.0)
        if weight.sum() < 1.0:
            weight = (1.0 - np.abs(at - centre)).clip(0.0)
        bands[index] = weight @ power / weight.sum()
    return bands


class _Columns:
    """Collects the power of spectrogram frames into columns."""

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self._n_columns = min(MAX_COLUMNS, n_frames)
        self._stft = StreamingSTFT(N_FFT, N_FFT // 2)
        self._sum = np.zeros((N_FFT // 2 + 1, self._n_columns))
        self._count = np.zeros(self._n_columns)
        self._at = 0

    def push(self, samples: NDArray[np.float32]) -> None:
        self._add(self._stft.push(torch.from_numpy(np.ascontiguousarray(samples))))

    def finish(self) -> NDArray[np.float64]:
        """Mean power `[f x]`; a full-scale square wave has a power of about one over all bins."""
        self._add(self._stft.finish())
        window_energy = float(torch.hann_window(N_FFT).square().sum())
        mean: NDArray[np.float64] = self._sum / np.maximum(1.0, self._count) * (2.0 / (window_energy * N_FFT))
        return mean

    def _add(self, spectrum: Any) -> None:
        power = torch.view_as_real(spectrum).square().sum(-1).mean(0).double().numpy()  # c f t -> f t
        frames = np.arange(self._at, self._at + power.shape[1])
        columns = np.minimum(frames * self._n_columns // self._n_frames, self._n_columns - 1)
        if not len(frames):
            return
        present, first, count = np.unique(columns, return_index=True, return_counts=True)
        self._sum[:, present] += np.add.reduceat(power, first, axis=1)
        self._count[present] += count
        self._at += power.shape[1]


def _mean_square(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the samples, by Parseval's theorem."""
    total: NDArray[np.float64] = power.sum(axis=0)
    return total


def _difference(blocks: Mapping[str, NDArray[np.float32]], bits: int | None) -> NDArray[np.float64]:
    """Song minus sum of the stems, full scale 1; integers where the stems are."""
    mix, instrumental, vocals = (blocks[track] for track in TRACKS)
    if bits is None:
        return mix.astype(np.float64) - instrumental - vocals
    difference: NDArray[np.float64] = (
        quantise(mix, bits) - quantise(instrumental, bits) - quantise(vocals, bits)
    ) / 2.0 ** (bits - 1)
    return difference


def _together(
    stems: Mapping[Stem, Path], song: Path | None, sample_rate: int
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Blocks of all three tracks side by side; without the song, the sum of its stems stands for it."""
    paths = [stems[Stem.INSTRUMENTAL], stems[Stem.VOCALS]]
    tracks = [SongReader(path).blocks(_BLOCK_SIZE) for path in paths]
    if song is not None:
        paths.append(song)
        tracks.append(_blocks_at(song, sample_rate))
    for blocks in zip_longest(*tracks):
        if len({None if block is None else block.shape for block in blocks}) > 1:
            names = ", ".join(str(path) for path in paths)
            raise AudioError(f"these files differ in length or channels: {names}", "separate the song again")
        instrumental, vocals = blocks[:2]
        yield {
            "mix": blocks[2] if song is not None else instrumental + vocals,
            TRACKS[1]: instrumental,
            TRACKS[2]: vocals,
        }


def _blocks_at(song: Path, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """A song at the rate of its stems, by the resampler that wrote them: as long as they are, to the sample."""
    reader = SongReader(song)
    resampler = Resampler(reader.sample_rate, sample_rate, reader.channels)
    pending = Fifo()
    for block in resampler.stream(reader.blocks(_BLOCK_SIZE)):
        pending.push(block)
        while pending.n_samples >= _BLOCK_SIZE:
            yield pending.pull(_BLOCK_SIZE)
    while pending.n_samples:
        yield pending.pull(_BLOCK_SIZE)
