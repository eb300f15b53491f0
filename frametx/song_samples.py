"""Songs as samples, block by block, that can be read as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from frametx.overlap import prefetch

Samples = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""Float32 samples `[c n]`."""


_FIRST_BLOCKS = 4


class Song(Protocol):
    """Something that can be read from its beginning as often as needed."""

    @property
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    def channels(self) -> int:
        """1 or 2."""

    def blocks(self) -> Iterator[Samples]:
        """All samples in order, float32 `[channels, n]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySong:
    """Samples in memory as a song."""

    samples: Samples
    sample_rate: int

    @property
    def channels(self) -> int:
        """1 or 2."""
        return self.samples.shape[0]

    def blocks(self) -> Iterator[Samples]:
        """The samples in pieces, so that what follows works on small arrays."""
        for start in range(0, self.samples.shape[1], 65536):
            yield self.samples[:, start : start + 65536]


class RememberedSong:
    """A song that is decoded ahead of need, and once for all its readings if it is short enough to be kept.

    Args:
        song: The song.
        limit_bytes: Most memory for its samples; six minutes of stereo at 44.1 kHz by default.
    """

    def __init__(self, song: Song, limit_bytes: int = 128 * 2**20) -> None:
        self.sample_rate, self.channels = song.sample_rate, song.channels
        self._song = song
        self._limit_bytes = limit_bytes
        self._kept: list[Samples] | None = None

    def blocks(self) -> Iterator[Samples]:
        """All samples in order, float32 `[channels, n]`."""
        if self._kept is not None:
            yield from self._kept
            return
        kept, n_bytes = [], 0
        for block in _ahead(self._song.blocks()):
            n_bytes += block.nbytes
            if n_bytes <= self._limit_bytes:
                kept.append(block)
            else:
                kept.clear()
            yield block
        if n_bytes <= self._limit_bytes:
            self._kept = kept


def _ahead(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """The same blocks, those after the first seconds from a thread: a short song is decoded before one has started."""
    first = list(islice(blocks, _FIRST_BLOCKS))
    yield from first
    if len(first) == _FIRST_BLOCKS:
        yield from prefetch(blocks)
