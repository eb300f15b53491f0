r"""Cross-fading newly separated vocals into vocals that are there.

    old vocals   ----------\\                                      /----------
    new vocals          ....\\------------------------------------/....
                        fade in |  the section, wholly new | fade out

Each fade lies outside the section, at the place near its border where old and new differ least, so that nobody hears
it. Where the section reaches the song's beginning or end there is no fade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from frametx.audio.pcm import quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frametx.span_reader import SpanReader

FADE_SECONDS = 0.05
SEARCH_SECONDS = 0.5  # how far from a border the fade may lie


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of samples, from `start` up to `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where a section may touch a song, in samples; between `before` and `after` lies the section itself.

    Attributes:
        before: Where the fade into it may lie; empty at the song's beginning.
        after: Where the fade out of it may lie; empty at the song's end.
        fade: Length of a fade.
    """

    before: Span
    after: Span
    fade: int

    @property
    def whole(self) -> Span:
        """Everything that must be separated anew."""
        return Span(start=self.before.start, stop=self.after.stop)


def reach_of(section: Span, n_samples: int, sample_rate: int) -> Reach:
    """Where the section's fades may lie in a song of `n_samples`."""
    search, fade = round(SEARCH_SECONDS * sample_rate), max(2, round(FADE_SECONDS * sample_rate))
    before = Span(start=max(0, section.start - search), stop=section.start)
    after = Span(start=section.stop, stop=min(n_samples, section.stop + search))
    # no room for a fade: the section takes in what is left of the song
    if len(before) < fade:
        before = Span(start=0, stop=0)
    if len(after) < fade:
        after = Span(start=n_samples, stop=n_samples)
    return Reach(before=before, after=after, fade=fade)


def quietest_fade(old: NDArray[np.float32], new: NDArray[np.float32], fade: int, *, latest: bool) -> int:
    """Where to fade from one recording to another so that least is heard.

    Args:
        old: `[c n]`, what is there.
        new: `[c n]`, what comes.
        fade: Length of the fade; at most n.
        latest: Of equally good places take the latest, else the earliest.

    Returns:
        The fade's first sample, 0..n - fade.
    """
    difference = np.square(new.astype(np.float64) - old).sum(axis=0)
    total = np.concatenate([[0.0], np.cumsum(difference)])
    energy = total[fade:] - total[:-fade]
    # what is 60 dB below the loudest place is as good as silent, and sums of floats are no finer than this either
    energy = np.maximum(energy, energy.max() * 1e-6 + 1e-18)
    return int(len(energy) - 1 - np.argmin(energy[::-1])) if latest else int(np.argmin(energy))


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """New vocals and how they are laid over the old ones; both are read as they are needed.

    Attributes:
        vocals: Reads the new vocals, which are there from sample `start` of the song on.
        mix: Reads the song.
        start: Sample of the song at which `vocals` begins.
        fade_in: Where old becomes new; empty at the song's beginning.
        fade_out: Where new becomes old; empty at the song's end.
    """

    vocals: SpanReader
    mix: SpanReader
    start: int
    fade_in: Span
    fade_out: Span

    @property
    def touched(self) -> Span:
        """The samples that may change."""
        return Span(start=self.fade_in.start, stop=self.fade_out.stop)

    def lay_over(self, vocals: NDArray[Any], instrumental: NDArray[Any] | None, at: int, bits: int | None) -> None:
        """Change a block of the stems in place; together they are the song again.

        Args:
            vocals: `[c n]`, float32 or integers of `bits` bits.
            instrumental: The same samples of the other stem; None when only the vocals are wanted.
            at: Sample of the song at which the block begins.
            bits: Bits of the integers; None for floats.
        """
        start, stop = max(at, self.touched.start), min(at + vocals.shape[1], self.touched.stop)
        if stop <= start:
            return
        there = slice(start - at, stop - at)
        new = _as_stored(self.new_vocals(Span(start=start, stop=stop)), bits)
        old = vocals[:, there]
        share = self._share(start, stop)
        mixed = old + share * (new.astype(np.float64) - old)
        if bits is not None:
            mixed = np.rint(mixed)
        vocals[:, there] = np.where(share == 1.0, new, mixed.astype(vocals.dtype))
        if instrumental is not None:
            mix = self.mix.read(Span(start=start, stop=stop))
            instrumental[:, there] = _as_stored(mix, bits) - vocals[:, there]
        if stop == self.touched.stop:
            self.close()

    def new_vocals(self, where: Span) -> NDArray[np.float32]:
        """The new vocals `[c n]` at a place in the song."""
        return self.vocals.read(Span(start=where.start - self.start, stop=where.stop - self.start))

    def close(self) -> None:
        """Let go of the files."""
        self.vocals.close()
        self.mix.close()

    def _share(self, start: int, stop: int) -> NDArray[np.float64]:
        """How much of the new vocals is heard at each sample, 0..1: half a cosine in each fade."""
        at = np.arange(start, stop)
        rising = _ramp(at, self.fade_in)
        falling = 1.0 - _ramp(at, self.fade_out)
        return np.minimum(rising, falling)


def _as_stored(samples: NDArray[np.float32], bits: int | None) -> NDArray[Any]:
    return samples if bits is None else quantise(samples, bits)


def _ramp(at: NDArray[np.int64], fade: Span) -> NDArray[np.float64]:
    if len(fade) == 0:
        return (at >= fade.start).astype(np.float64)
    along = np.clip((at - fade.start + 0.5) / len(fade), 0.0, 1.0)
    ramp: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * along)
    return ramp
