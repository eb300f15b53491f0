"""Which frames each chunk sees and which it owns, and how the masks of neighbouring chunks are joined."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A window of frames that a network sees at once, and the part of it whose mask is kept.

    Attributes:
        start: First frame owned.
        stop: One past the last frame owned.
        seen_start: First frame seen; negative where the window begins before the song.
        seen_stop: One past the last frame seen; may lie behind the song's end. Outside the song there is silence.
    """

    start: int
    stop: int
    seen_start: int
    seen_stop: int

    @property
    def width(self) -> int:
        """Frames the network sees."""
        return self.seen_stop - self.seen_start


def plan_chunks(n_frames: int, size: int, context: int) -> list[Chunk]:
    """Cover `n_frames` frames with equal windows that each see `context` frames more than they own.

    Every frame is owned by exactly one chunk. The song is divided evenly, so that no short rest is left over, and all
    windows have one width; at the song's ends a window is moved inwards rather than filled with silence. A song shorter
    than a window costs a window of its own length.

        seen    |--context--|------size------|--context--|
        owned               |----------------|
        next                                 |----------------|

    Args:
        n_frames: Frames of the song, at least 1.
        size: Most frames a chunk may own, at least 1.
        context: Frames seen on either side of them, at least 0.
    """
    n_chunks = -(-n_frames // size)
    width = min(n_frames, -(-n_frames // n_chunks) + 2 * context)
    chunks = []
    for index in range(n_chunks):
        start, stop = index * n_frames // n_chunks, (index + 1) * n_frames // n_chunks
        seen_start = min(max(0, start - context), n_frames - width)
        chunks.append(Chunk(start=start, stop=stop, seen_start=seen_start, seen_stop=seen_start + width))
    return chunks


def plan_grid(n_frames: int, size: int, context: int) -> list[Chunk]:
    """Cover `n_frames` frames with windows on a fixed grid, silence standing before and behind the song.

    These are the windows of the original program: window i sees frames `i * size - context` to
    `(i + 1) * size + context`, even where the song is shorter.

    Args:
        n_frames: Frames of the song, at least 1.
        size: Frames from one window to the next, at least 1.
        context: Frames seen on either side, at least 0.
    """
    return [
        Chunk(
            start=start, stop=min(start + size, n_frames), seen_start=start - context, seen_stop=start + size + context
        )
        for start in range(0, n_frames, size)
    ]


class MaskJoiner:
    r"""Joins the masks of a plan's chunks, in order, with linear cross-fades around the borders.

        chunk i    ------------\
        chunk i+1              /-----------     the fade lies half on each side of the border
        border                |

    Args:
        chunks: The plan.
        fade: Frames over which neighbours are mixed; cut to what both have seen. 0: hard borders.
    """

    def __init__(self, chunks: list[Chunk], fade: int) -> None:
        self._chunks = chunks
        self._halves = [
            min(fade // 2, left.seen_stop - left.stop, right.start - right.seen_start, _reach(left), _reach(right))
            for left, right in itertools.pairwise(chunks)
        ]
        self._index = 0
        self._tail: Tensor | None = None  # [c f t] what the last chunk said about the frames of the coming fade

    def push(self, mask: Tensor) -> Tensor:
        """Take the mask `[c f t]` of the next chunk's whole window; return the frames that are final now, `[c f t]`."""
        chunk = self._chunks[self._index]
        before = self._halves[self._index - 1] if self._index else 0
        after = self._halves[self._index] if self._index < len(self._halves) else 0
        first, last = chunk.start - before - chunk.seen_start, chunk.stop + after - chunk.seen_start
        part = mask[..., first:last]
        if before:
            assert self._tail is not None
            ramp = (torch.arange(2 * before, device=mask.device, dtype=mask.dtype) + 0.5) / (2 * before)
            faded = torch.lerp(self._tail, part[..., : 2 * before], ramp)
            part = torch.cat([faded, part[..., 2 * before :]], dim=-1)
        self._index += 1
        n_final = part.shape[-1] - 2 * after
        self._tail = part[..., n_final:]
        return part[..., :n_final]


def _reach(chunk: Chunk) -> int:
    """Half the frames a chunk owns: two fades of this reach don't meet."""
    return (chunk.stop - chunk.start) // 2
