"""Resampling block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


def resampled_length(n_samples: int, rate_in: int, rate_out: int) -> int:
    """Length after resampling: `ceil(n_samples * rate_out / rate_in)`.

    Rounded up, so that resampling there and back never gives fewer samples than there were, and a song of one sample
    does not vanish.
    """
    return -(-n_samples * rate_out // rate_in)


class Resampler:
    """A stream from one sample rate to another, with soxr at its highest quality.

    The output is aligned with the input (no delay overall), does not depend on how the input is cut into blocks, and
    has `resampled_length` samples in total. Equal rates pass the samples through untouched.

    Args:
        rate_in: Samples per second of what comes in.
        rate_out: Samples per second of what goes out.
        channels: How many channels every block has.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.channels = channels
        self._n_in = 0
        self._n_out = 0
        self._stream = (
            None
            if rate_in == rate_out
            else soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality="VHQ")
        )

    def stream(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Resample all blocks of a song.

        Args:
            blocks: `[c n]`, to the song's end.

        Yields:
            `[c m]`; `m` may be 0.
        """
        for block in blocks:
            yield self.process(block)
        yield self.process(np.zeros((self.channels, 0), dtype=np.float32), last=True)

    def process(self, block: NDArray[np.float32], *, last: bool = False) -> NDArray[np.float32]:
        """Take the next samples and give what can be given already.

        Args:
            block: `[c n]`, of any length, also 0.
            last: No more will come: give all that is left.

        Returns:
            `[c m]`; `m` differs from block to block and may be 0.
        """
        if self._stream is None:
            return block
        self._n_in += block.shape[1]
        if last:
            # soxr rounds its total down at times: with silence behind the end it has the last sample to give, too
            silence = np.zeros((self.channels, 2 + 2 * self.rate_in // self.rate_out), dtype=np.float32)
            block = np.concatenate([block, silence], axis=1)
        out: NDArray[np.float32] = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last).T
        if last:
            out = out[:, : resampled_length(self._n_in, self.rate_in, self.rate_out) - self._n_out]
        self._n_out += out.shape[1]
        return out
