"""Spectrogram frames in, mask frames out, in order and with bounded memory.

A `MaskSource` looks at the frames that have arrived in a `FrameBuffer` and hands out the mask frames that are final.
One model with one plan of chunks is a source; several sources joined (an ensemble, several window sizes) are one too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from frametx.chunks import Chunk, MaskJoiner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


Watch = Callable[[list[Tensor], Tensor], None]
"""Shown masks of several models, each `[c f t]` without the Nyquist bin, and the mix's spectrum, `[c f t]` with it."""


class FrameBuffer:
    """The frames of a song that some source still needs.

    Args:
        n_frames: Frames that sources may see; frames behind them read as silence.
    """

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.stop = 0  # one past the last frame that has arrived
        self._start = 0  # the first frame still held
        self._parts: deque[Tensor] = deque()  # [c t f]: frame after frame, so that joining them copies whole runs

    def append(self, spectrum: Tensor) -> None:
        """Add the next frames, complex `[c f t]`."""
        if spectrum.shape[-1]:
            self._parts.append(spectrum.transpose(1, 2))
            self.stop += spectrum.shape[-1]

    def has(self, stop: int) -> bool:
        """Whether every frame before `stop` is here, or will never come."""
        return self.stop >= min(stop, self.n_frames)

    def window(self, start: int, stop: int) -> Tensor:
        """Frames `start` to `stop`, complex `[c f t]`; outside the song there is silence."""
        inside_start, inside_stop = max(start, 0), min(stop, self.n_frames)
        inside = self.take(inside_start, inside_stop)
        if (inside_start, inside_stop) == (start, stop):
            return inside
        return F.pad(inside, (inside_start - start, stop - inside_stop))

    def take(self, start: int, stop: int) -> Tensor:
        """Frames `start` to `stop` as they arrived, whatever sources may see, complex `[c f t]`; not to be changed."""
        pieces = [piece.transpose(1, 2) for piece in self.pieces(start, stop)]
        # of a window behind the last frame that sources may see there is nothing but silence to come
        joined = pieces[0] if len(pieces) == 1 else torch.cat(pieces or [self._parts[-1][:, :0]], dim=1)
        return joined.transpose(1, 2)

    def pieces(self, start: int, stop: int) -> Iterator[Tensor]:
        """The same piece by piece, without a copy."""
        at = self._start
        for part in self._parts:
            first, last = max(start - at, 0), min(stop - at, part.shape[1])
            if first < last:
                yield part[:, first:last].transpose(1, 2)
            at += part.shape[1]

    def drop_before(self, frame: int) -> None:
        """Forget the frames before `frame`, as far as they fill whole blocks."""
        while self._parts and self._start + self._parts[0].shape[1] <= frame:
            self._start += self._parts.popleft().shape[1]


class MaskSource(Protocol):
    """Something that says masks for the frames of a song, in order."""

    @property
    def needs_from(self) -> int:
        """The first frame of the buffer that is still needed."""

    def advance(self, buffer: FrameBuffer) -> Tensor:
        """Do what the buffer allows; return the mask frames that are final now, `[c f t]`, t >= 0."""


class WindowFeeder(Protocol):
    """Turns windows into masks, see `frametx.masker.Feeder`."""

    def __call__(self, windows: Tensor, inside: Tensor) -> Tensor:
        """Masks `[b 2 f t]` of windows, complex `[b 2 f t]` and not to be changed, with `inside` bool `[b t]`."""


class MaskStream:
    """One model with one plan of chunks.

    Args:
        feeder: Turns windows into masks.
        chunks: The plan.
        fade: Frames over which neighbouring chunks are mixed.
        shape: Channels and frequency bins of a mask.
        device: Where the masks are.
        batch_size: Most windows at once; windows of different widths are never mixed.
        on_chunk: Called with the number of frames that a finished batch owned.
    """

    def __init__(
        self,
        feeder: WindowFeeder,
        chunks: list[Chunk],
        *,
        fade: int,
        shape: tuple[int, int],
        device: torch.device,
        batch_size: int = 1,
        on_chunk: Callable[[int], None] | None = None,
    ) -> None:
        self._feeder = feeder
        self._chunks = chunks
        self._joiner = MaskJoiner(chunks, fade)
        self._nothing = torch.zeros(*shape, 0, dtype=torch.float32, device=device)
        self._batch_size = batch_size
        self._on_chunk = on_chunk
        self._next = 0

    @property
    def needs_from(self) -> int:
        """The first frame that the next chunk sees."""
        if self._next == len(self._chunks):
            return self._chunks[-1].stop
        return min(chunk.seen_start for chunk in self._chunks[self._next : self._next + 2])

    def advance(self, buffer: FrameBuffer) -> Tensor:
        """Run every batch of chunks whose frames have arrived."""
        finished = []
        while batch := self._ready(buffer):
            # without the Nyquist bin, which no network sees
            windows = [buffer.window(chunk.seen_start, chunk.seen_stop)[:, :-1] for chunk in batch]
            inside = torch.stack([_inside(chunk, buffer.n_frames, windows[0].device) for chunk in batch])
            # a single window, the usual batch on a CPU, is not copied for the batch's sake
            batched = torch.stack(windows) if len(windows) > 1 else windows[0].unsqueeze(0)
            masks = self._feeder(batched, inside)
            finished += [self._joiner.push(mask) for mask in masks]
            self._next += len(batch)
            if self._on_chunk is not None:
                self._on_chunk(sum(chunk.stop - chunk.start for chunk in batch))
        return torch.cat(finished, dim=-1) if finished else self._nothing

    def _ready(self, buffer: FrameBuffer) -> list[Chunk]:
        """The next batch, or nothing while its frames are still to come."""
        batch = self._chunks[self._next : self._next + self._batch_size]
        batch = [chunk for chunk in batch if chunk.width == batch[0].width]
        return batch if batch and all(buffer.has(chunk.seen_stop) for chunk in batch) else []


class JoinedMasks:
    """Several sources as one.

    Args:
        sources: At least one.
        join: Joins masks of one shape.
        watch: Shown the masks of all sources, in the sources' order, and the spectrum under them, complex `[c f t]`,
            stretch by stretch, before they are joined.
    """

    def __init__(
        self,
        sources: Sequence[MaskSource],
        join: Callable[[list[Tensor]], Tensor],
        watch: Watch | None = None,
    ) -> None:
        self._sources = sources
        self._join = join
        self._watch = watch
        self._n_joined = 0
        self._waiting: list[Tensor | None] = [None] * len(sources)  # masks that other sources have not reached yet

    @property
    def needs_from(self) -> int:
        """What the slowest source still needs."""
        return min(source.needs_from for source in self._sources)

    def advance(self, buffer: FrameBuffer) -> Tensor:
        """Advance every source; join the frames that all have finished."""
        for index, source in enumerate(self._sources):
            new, old = source.advance(buffer), self._waiting[index]
            self._waiting[index] = new if old is None else torch.cat([old, new], dim=-1)
        waiting = [mask for mask in self._waiting if mask is not None]
        n_common = min(mask.shape[-1] for mask in waiting)
        self._waiting = [mask[..., n_common:] for mask in waiting]
        masks = [mask[..., :n_common] for mask in waiting]
        if self._watch is not None and n_common:
            self._watch(masks, buffer.take(self._n_joined, self._n_joined + n_common))
        self._n_joined += n_common
        return self._join(masks)


def _inside(chunk: Chunk, n_frames: int, device: torch.device) -> Tensor:
    frames = torch.arange(chunk.seen_start, chunk.seen_stop, device=device)
    return (frames >= 0) & (frames < n_frames)
