"""Separating one section of a song as if the whole song were separated: with context around it and the song's own peak."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from frametx.audio.reader import SongReader
from frametx.audio.resample import resampled_length
from frametx.models.network import Feeding
from frametx.reframing import common_framing
from frametx.separate import Survey
from frametx.spectrum import SAMPLE_RATE, count_frames
from frametx.splice import Span
from frametx.windows import plans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from frametx.models.network import Network
    from frametx.separate import Progress
    from frametx.separator import Separator
    from frametx.spectrum import Framing
    from frametx.stream import Watch
    from frametx.windows import Plan, WindowOptions

POSTPROCESS_CONTEXT = 256  # frames around a passage that decide whether it is left untouched
HISTORY_WINDOWS = 2  # an autoregressive network hears its last two windows


def peak_kinds(separator: Separator) -> dict[Framing, str]:
    """Which of a song's peak magnitudes these models divide by: their STFTs, and whether they see every frame."""
    suffix = "-grid" if separator.windows.grid else ""
    return {framing: f"{framing}{suffix}" for framing in separator.framings}


def separate_span(
    separator: Separator,
    path: Path,
    span: Span,
    *,
    n_samples: int,
    peaks: Mapping[Framing, float],
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Iterator[NDArray[np.float32]]:
    """The vocals of a stretch of a song, in constant memory.

    Args:
        separator: The models.
        path: The song.
        span: Samples of the song.
        n_samples: Length of the whole song.
        peaks: The whole song's, from `Separator.survey`.
        progress: Told how much is done.
        watch: Shown the masks of all models, context included.

    Yields:
        Float32 `[c n]`, len(span) samples in all.
    """
    with SongReader(path) as song:
        rate = song.sample_rate
    seen = span_with_context(span, separator.networks, separator.windows, n_samples, rate)
    survey = Survey(
        n_samples=len(seen),
        n_model_samples=resampled_length(len(seen), rate, SAMPLE_RATE),
        peaks=peaks,
    )
    first, last = span.start - seen.start, span.stop - seen.start
    at = 0
    with SongReader(path, start_seconds=seen.start / rate, end_seconds=seen.stop / rate) as section:
        for stems in separator.separate_blocks(section, survey, progress=progress, watch=watch):
            yield stems.vocals[:, max(0, first - at) : max(0, last - at)]
            at += stems.vocals.shape[1]


def span_with_context(
    span: Span, networks: Sequence[Network], options: WindowOptions, n_samples: int, sample_rate: int
) -> Span:
    """The samples that models must see to separate `span` as they would in the whole song.

    Windows on a grid stay on the whole song's grid. A network that feeds on its own output begins two windows earlier.
    """
    framing = common_framing({network.framing for network in networks})
    hop = framing.hop
    per_frame = hop * sample_rate / SAMPLE_RATE  # samples of the song in a hop of the networks' rate
    n_frames = count_frames(resampled_length(n_samples, sample_rate, SAMPLE_RATE), hop)
    reach = framing.n_fft // (2 * hop)  # hops from a frame's middle to where its window ends
    start, stop = math.floor(span.start / per_frame) - (reach - 1), math.ceil(span.stop / per_frame) + reach + 1
    first, last, grid = start, stop, 1
    for network in networks:
        on_grid = network.feeding is Feeding.HISTORY or options.grid or options.tta
        for plan in plans("", network, options, n_frames):
            context = _context(plan, on_grid=on_grid) + (POSTPROCESS_CONTEXT if options.postprocess else 0)
            low, high = start - context, stop + context
            if on_grid:
                crop = _crop(plan, n_frames)
                grid = math.lcm(grid, crop)
                history = HISTORY_WINDOWS if network.feeding is Feeding.HISTORY else 0
                low = (low // crop - history) * crop
                high = -(-high // crop) * crop + context
            first, last = min(first, low), max(last, high)
    first = max(0, first // grid * grid)
    if last >= n_frames:
        return Span(start=round(first * per_frame), stop=n_samples)
    # a song of k hops has k + 1 frames; resampling may round its length up, and a frame more could be a window more
    rounding = 0 if sample_rate == SAMPLE_RATE else 2
    return Span(start=round(first * per_frame), stop=min(n_samples, math.floor((last - 1) * per_frame) - rounding))


def _context(plan: Plan, *, on_grid: bool) -> int:
    return plan.chunks[0].start - plan.chunks[0].seen_start if on_grid else plan.fade


def _crop(plan: Plan, n_frames: int) -> int:
    return plan.chunks[1].start - plan.chunks[0].start if len(plan.chunks) > 1 else n_frames
