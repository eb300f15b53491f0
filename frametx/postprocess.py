"""Artifact merging: passages in which the mask is nowhere small are left to the instrumental untouched.

Where every bin of both channels keeps more than a threshold for long enough, the network has found no voice; the mask is
raised to 1 there, with fades at the passage's ends, so that no faint residue of instruments stays in the vocals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from frametx.stream import FrameBuffer, MaskSource

THRESHOLD = 0.05
MIN_FRAMES = 64
FADE_FRAMES = 32
# the weight of a frame is certain once this many later frames are known: a later run that reaches back over two fades,
# begins less than one fade after its predecessor, and needs MIN_FRAMES to count
_LOOKAHEAD = 4 * FADE_FRAMES + MIN_FRAMES + 2


def merge_weight(column_is_free: np.ndarray) -> np.ndarray:
    """How far the mask of each frame is raised to 1.

    Args:
        column_is_free: Bool `[t]`, whether the smallest mask value of the frame is above the threshold.

    Returns:
        Float32 `[t]` in 0..1.
    """
    weight = np.zeros(len(column_is_free), dtype=np.float32)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column_is_free.astype(np.int8), [0]])))
    ramp = np.linspace(0.0, 1.0, FADE_FRAMES, dtype=np.float32)
    previous_end: int | None = None
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        end = stop - 1  # the last frame of the run; it keeps its mask
        if end - start <= MIN_FRAMES:
            continue
        if previous_end is not None and start - previous_end < FADE_FRAMES:
            start = previous_end - 2 * FADE_FRAMES  # noqa: PLW2901  (the runs are so close that they become one)
        if start != 0:
            weight[start : start + FADE_FRAMES] = ramp
        else:
            start = -FADE_FRAMES  # noqa: PLW2901  (no fade at the song's beginning)
        weight[end - FADE_FRAMES : end] = ramp[::-1]
        weight[start + FADE_FRAMES : end - FADE_FRAMES] = 1.0
        previous_end = end
    return weight


class MergedArtifacts:
    """A mask source with its artifacts merged; it lags a few seconds behind the source it reads."""

    def __init__(self, source: MaskSource, n_frames: int) -> None:
        self._source = source
        self._n_frames = n_frames
        self._free = np.zeros(0, dtype=bool)  # one entry a frame from the song's beginning: 43 bytes a second
        self._held: Tensor | None = None
        self._n_done = 0

    @property
    def needs_from(self) -> int:
        """The first frame still needed: masks held back here need their frames later."""
        return min(self._source.needs_from, self._n_done)

    def advance(self, buffer: FrameBuffer) -> Tensor:
        """Advance the source; return the frames whose weight is certain."""
        new = self._source.advance(buffer)
        self._free = np.concatenate([self._free, (new.amin(dim=(0, 1)) > THRESHOLD).cpu().numpy()])
        self._held = new if self._held is None else torch.cat([self._held, new], dim=-1)
        n_known = len(self._free)
        n_certain = n_known if n_known == self._n_frames else max(self._n_done, n_known - _LOOKAHEAD)
        n_ready = n_certain - self._n_done
        ready, self._held = self._held[..., :n_ready], self._held[..., n_ready:]
        if n_ready == 0:
            return ready
        weight = torch.from_numpy(merge_weight(self._free)[self._n_done : n_certain]).to(ready.device)
        self._n_done = n_certain
        return ready + weight * (1.0 - ready)
