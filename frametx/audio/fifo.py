"""Samples that wait between pieces of one size and pieces of another."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Fifo:
    """Samples that wait, first in, first out.

    Attributes:
        n_samples: How many wait, per channel.
    """

    def __init__(self) -> None:
        self._parts: deque[NDArray[np.float32]] = deque()
        self.n_samples = 0

    def push(self, samples: NDArray[np.float32]) -> None:
        """Add `[c n]` samples; they are not copied."""
        if samples.shape[1]:
            self._parts.append(samples)
            self.n_samples += samples.shape[1]

    def pull(self, n_samples: int) -> NDArray[np.float32]:
        """The oldest samples, at most `n_samples`."""
        taken: list[NDArray[np.float32]] = []
        missing = min(n_samples, self.n_samples)
        self.n_samples -= missing
        while missing:
            part = self._parts.popleft()
            if part.shape[1] > missing:
                self._parts.appendleft(part[:, missing:])
                part = part[:, :missing]
            taken.append(part)
            missing -= part.shape[1]
        return np.concatenate(taken, axis=1)
