"""Stretches of an audio file, in constant memory however long they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.audio.fifo import Fifo
from frametx.audio.reader import SongReader, probe
from frametx.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from frametx.splice import Span


class SpanReader:
    """Reads pieces of a stretch of a file; a piece that follows the one before is read on without seeking.

    Args:
        path: The file.
        whole: The samples of the file that may be asked for.

    Raises:
        AudioError: There is no such file, or it cannot be read.
    """

    def __init__(self, path: Path, whole: Span) -> None:
        self.path = path
        self.whole = whole
        self._rate = probe(path).sample_rate
        self._blocks: Generator[NDArray[np.float32], None, None] | None = None
        self._waiting = Fifo()
        self._at = 0

    def read(self, piece: Span) -> NDArray[np.float32]:
        """The samples of a piece, float32 `[c n]`.

        Raises:
            AudioError: The file ends before, or cannot be read.
        """
        if self._blocks is None or piece.start != self._at:
            self.close()
            self._blocks = self._from(piece.start)
        self._at = piece.stop
        while self._waiting.n_samples < len(piece):
            block = next(self._blocks, None)
            if block is None:
                raise AudioError(f"{self.path} is shorter than it was", "separate the song again")
            self._waiting.push(block)
        return self._waiting.pull(len(piece))

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        if self._blocks is not None:
            self._blocks.close()
        self._blocks, self._waiting = None, Fifo()

    def _from(self, start: int) -> Generator[NDArray[np.float32], None, None]:
        begin, end = start / self._rate, self.whole.stop / self._rate
        with SongReader(self.path, start_seconds=begin, end_seconds=end) as reader:
            yield from reader.blocks()
