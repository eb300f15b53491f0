"""Songs made on the fly: recordings are drawn, varied, set to levels and mixed.

What item number `i` of a training is depends on the seed and on `i` alone. So a resumed training continues with the songs
it would have had, and processes that share the work draw the songs that one process would have drawn.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from frametx.training.augment import Augmenter, at_level
from frametx.training.recordings import PairPool, Pool, open_pairs, open_pool
from frametx.training.stereo import REACH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from frametx.song_samples import Samples
    from frametx.training.config import MixingConfig, TrainingConfig

QUIETEST, LOUDEST = -2.5, 3.0
"""How far the level of vocals goes from its mean, in standard deviations: nobody hears quieter ones."""
PEAK = 0.5


@dataclass(frozen=True, slots=True)
class Recordings:
    """Everything that can be drawn; None where the config names no folder."""

    instrumentals: Pool | None
    vocals: Pool | None
    pairs: PairPool | None


def open_recordings(config: TrainingConfig, least: int, on_file: Callable[[Path], None]) -> Recordings:
    """Open all folders of a config, decoding what is not decoded yet.

    Args:
        config: Names the folders.
        least: Samples a recording must have.
        on_file: Told before a file is decoded.

    Raises:
        FrametxError: A folder is missing or empty, or a file cannot be read or is too short.
    """
    data = config.data
    cache = data.cache or config.output / "cache"
    return Recordings(
        open_pool(data.instrumentals, cache, least, on_file) if data.instrumentals else None,
        open_pool(data.vocals, cache, least, on_file) if data.vocals else None,
        open_pairs(data.pairs, cache, least, on_file) if data.pairs else None,
    )


class Mixer:
    """Makes songs.

    Args:
        recordings: What is drawn.
        mixing: How it is mixed.
        augmenter: How it is varied.
    """

    def __init__(self, recordings: Recordings, mixing: MixingConfig, augmenter: Augmenter) -> None:
        self.recordings = recordings
        self.mixing = mixing
        self.augmenter = augmenter

    def stems(self, rng: np.random.Generator, n_samples: int) -> Samples:
        """Make a song: instrumental and vocals `[2 2 n]`, of which one may be silent."""
        instrumental, vocals = self._drawn(rng, n_samples)
        instrumental = at_level(instrumental)
        off = float(np.clip(rng.standard_normal(), QUIETEST, LOUDEST))
        vocals = at_level(vocals, self.mixing.vocals_db + self.mixing.vocals_db_spread * off)
        fate = rng.random()
        if fate < self.mixing.no_vocals:
            vocals = np.zeros_like(vocals)
        elif fate < self.mixing.no_vocals + self.mixing.only_vocals:
            instrumental = np.zeros_like(instrumental)
        peak = max(1e-3, float(np.abs(instrumental + vocals).max()))
        return (np.stack([instrumental, vocals]) * (PEAK / peak)).astype(np.float32)

    def _drawn(self, rng: np.random.Generator, n_samples: int) -> tuple[Samples, Samples]:
        sources, augmenter = self.recordings, self.augmenter
        apart = sources.instrumentals is not None and sources.vocals is not None
        if sources.pairs is not None and (not apart or rng.random() < self.mixing.true_pairs):
            found = sources.pairs.draw(rng, n_samples, augmenter.speed(rng))
            return augmenter.pair(*found, rng)
        assert sources.instrumentals is not None
        instrumental, _ = sources.instrumentals.draw(rng, n_samples, augmenter.speed(rng))
        vocals = self._voice(rng, n_samples)
        if rng.random() < self.mixing.second_voice:
            vocals = at_level(vocals) + np.float32(rng.uniform(0.2, 0.8)) * at_level(self._voice(rng, n_samples))
        return augmenter.instrumental(instrumental, rng), vocals

    def _voice(self, rng: np.random.Generator, n_samples: int) -> Samples:
        assert self.recordings.vocals is not None
        speed = self.augmenter.speed(rng)
        vocals, recording = self.recordings.vocals.draw(rng, n_samples + 2 * REACH, speed, heard=True)
        return self.augmenter.vocals(vocals, rng, dry=recording.dry)[:, REACH:-REACH]


class Mixtures(Dataset[tuple[Tensor, Tensor]]):
    """Numbered songs.

    Args:
        mixer: Makes them.
        n_samples: Their length.
        seed: With the number, what a song is made from.
    """

    def __init__(self, mixer: Mixer, n_samples: int, seed: int) -> None:
        self.mixer = mixer
        self.n_samples = n_samples
        self.seed = seed

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the stems `[2 2 n]` and by how many dB the song's peak lies above the crop's."""
        rng = np.random.default_rng((self.seed, number))
        stems = self.mixer.stems(rng, self.n_samples)
        headroom = rng.uniform(0, self.mixer.mixing.headroom_db)
        return torch.from_numpy(stems), torch.tensor(headroom, dtype=torch.float32)


class Numbers(Sampler[list[int]]):
    """The numbers of one process's batches: of every `batch x processes` consecutive ones its own part."""

    def __init__(self, first: int, batch: int, rank: int, processes: int) -> None:
        self.first = first
        self.batch = batch
        self.rank = rank
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        """Batches without end."""
        start = self.first + self.rank * self.batch
        while True:
            yield list(range(start, start + self.batch))
            start += self.batch * self.processes


def batches(mixtures: Mixtures, numbers: Numbers, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of songs without end: stems `[b 2 2 n]` and headroom `[b]`."""
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        mixtures,
        batch_sampler=numbers,
        num_workers=workers,
        worker_init_fn=_prepare,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


def _prepare(_: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training's to handle, which may need another song
