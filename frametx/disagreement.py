"""Where models disagree about a song: that is where listening, and redoing a section with another model, pays.

The masks of several models say how much of each bin of the mix is instrumental. The *disagreement* of a frame is the
energy that the most generous model keeps and the strictest one doesn't: the sum over channels and bins of
((largest mask - smallest mask) x magnitude) squared, in dB relative to the mean frame of the mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from frametx.audio.reader import SongReader
from frametx.clock import check_range, clock_text
from frametx.sections import separate_span, span_with_context
from frametx.spectrum import SAMPLE_RATE
from frametx.splice import Span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from frametx.separate import Progress
    from frametx.separator import Separator

FLOOR_DB = -120.0
_SMOOTHING_SECONDS = 1.0
_BELOW_LOUDEST_DB = 10.0  # what lies further below the largest disagreement is not worth a person's time first
_GAP_SECONDS = 1.0  # ranges closer than this become one
_LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How much models disagree along a song.

    Attributes:
        models: Their names.
        start_seconds: Time of the first frame.
        frame_seconds: Time from one frame to the next.
        spread: Energy of the disagreement, `[t]`.
        mix: Energy of the mix, `[t]`.
        vocals: Energy of the vocals that each model hears, `[m t]`.
    """

    models: tuple[str, ...]
    start_seconds: float
    frame_seconds: float
    spread: NDArray[np.float64]
    mix: NDArray[np.float64]
    vocals: NDArray[np.float64]

    @property
    def level_db(self) -> NDArray[np.float64]:
        """The disagreement `[t]` in dB relative to the mean frame of the mix, smoothed over a second."""
        return decibels(smoothed(self.spread, _SMOOTHING_SECONDS / self.frame_seconds), float(self.mix.mean()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """A range about which models disagree.

    Attributes:
        start_seconds: Where it begins.
        end_seconds: Where it ends.
        level_db: The mean disagreement in it, relative to the mean frame of the mix.
        vocals_db: The mean level of the vocals that each model hears in it, by the model's name, on the same scale.
    """

    start_seconds: float
    end_seconds: float
    level_db: float
    vocals_db: dict[str, float]

    @property
    def strictest(self) -> str:
        """The model that takes most out of the instrumental."""
        return max(self.vocals_db, key=lambda name: self.vocals_db[name])


class DisagreementMeter:
    """Measures the masks that a separation shows it: give it as `watch`."""

    def __init__(self) -> None:
        self._spread: list[Tensor] = []
        self._mix: list[Tensor] = []
        self._vocals: list[Tensor] = []

    def __call__(self, masks: list[Tensor], spectrum: Tensor) -> None:
        """Take masks `[c f t]`, one a model, and the spectrum under them."""
        stacked = torch.stack(masks)
        power = torch.view_as_real(spectrum[:, : stacked.shape[2]]).square().sum(-1)
        spread = (stacked.amax(0) - stacked.amin(0)).square() * power
        self._spread.append(_frames(spread))
        self._mix.append(_frames(power))
        self._vocals.append(_frames((1.0 - stacked).square() * power))

    def profile(self, models: Sequence[str], *, hop: int, start_seconds: float = 0.0) -> Profile | None:
        """What was measured; None where nothing was shown: a single model, or silence."""
        if not self._spread:
            return None
        return Profile(
            models=tuple(models),
            start_seconds=start_seconds,
            frame_seconds=hop / SAMPLE_RATE,
            spread=torch.cat(self._spread).numpy(),
            mix=torch.cat(self._mix).numpy(),
            vocals=torch.cat(self._vocals, dim=1).numpy(),
        )


def measure_disagreement(
    separator: Separator,
    song: Path,
    section: tuple[float, float] | None = None,
    *,
    progress: Progress | None = None,
) -> Profile | None:
    """Run several models over a song, or a section of it with context around it.

    Args:
        separator: At least two models.
        song: The song.
        section: Start and end in seconds; None: all of it.
        progress: Told the stage and how much of it is done, 0..1.

    Returns:
        The profile, of the section alone where there is one; None for silence.

    Raises:
        AudioError: The song cannot be read.
        UsageError: The section is not in it.
    """
    with SongReader(song) as reader:
        survey = separator.survey(reader)
        rate = reader.sample_rate
    seconds = survey.n_samples / rate
    start, stop = (0.0, seconds) if section is None else section
    if section is not None:
        check_range(start, stop, seconds, f"the section {clock_text(start)} - {clock_text(stop)}")
    span = Span(start=round(start * rate), stop=min(survey.n_samples, round(stop * rate)))
    seen = span_with_context(span, separator.networks, separator.windows, survey.n_samples, rate)
    meter = DisagreementMeter()
    for _vocals in separate_span(
        separator,
        song,
        span,
        n_samples=survey.n_samples,
        peaks=survey.peaks,
        progress=progress,
        watch=meter,
    ):
        pass  # the meter sees the masks, and a long song's vocals would fill the memory
    names = [model.name for model in separator.models]
    profile = meter.profile(names, hop=separator.framing.hop, start_seconds=seen.start / rate)
    return None if profile is None else _cut(profile, start, stop)


def disputed_ranges(profile: Profile, *, limit: int = 10, threshold_db: float | None = None) -> list[Disputed]:
    """The ranges worth listening to, the most disputed first.

    Args:
        profile: What was measured.
        limit: How many at most.
        threshold_db: From which level on; None: down to 10 dB below the largest.
    """
    level = profile.level_db
    least = float(level.max()) - _BELOW_LOUDEST_DB if threshold_db is None else threshold_db
    disputed = level >= max(least, FLOOR_DB + 1.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], disputed.astype(np.int8), [0]])))
    runs = [list(run) for run in edges.reshape(-1, 2).tolist()]
    end = profile.start_seconds + len(level) * profile.frame_seconds
    merged: list[list[float]] = []
    for first, last in runs:
        start, stop = (profile.start_seconds + frame * profile.frame_seconds for frame in (first, last))
        grow = max(0.0, _LEAST_SECONDS - (stop - start)) / 2
        start, stop = max(profile.start_seconds, start - grow), min(end, stop + grow)
        if merged and start - merged[-1][1] < _GAP_SECONDS:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    ranges = [_disputed(profile, start, stop) for start, stop in merged]
    return sorted(ranges, key=lambda one: -one.level_db)[:limit]


def decibels(energy: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
    """10 log10(energy / reference), not below FLOOR_DB."""
    floor = 10.0 ** (FLOOR_DB / 10)
    ratio = energy / reference if reference > 0 else np.zeros_like(energy)
    level: NDArray[np.float64] = 10.0 * np.log10(np.maximum(ratio, floor))
    return level


def smoothed(values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """The moving mean over about `width` values; fewer at the ends."""
    n = max(1, min(len(values), round(width)))
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.clip(np.arange(len(values)) - n // 2, 0, len(values))
    last = np.clip(first + n, 0, len(values))
    mean: NDArray[np.float64] = np.maximum(0.0, total[last] - total[first]) / np.maximum(1, last - first)
    return mean


def _frames(energy: Tensor) -> Tensor:
    """Sum `[... c f t]` over channels and bins; float64 on the CPU, for Apple's GPUs have none."""
    return energy.sum(dim=(-3, -2)).cpu().double()


def _cut(profile: Profile, start_seconds: float, end_seconds: float) -> Profile:
    """The frames of a section, without the context around it."""
    first, last = (
        round((edge - profile.start_seconds) / profile.frame_seconds) for edge in (start_seconds, end_seconds)
    )
    here = slice(max(0, first), max(first + 1, last))
    return Profile(
        models=profile.models,
        start_seconds=profile.start_seconds + max(0, first) * profile.frame_seconds,
        frame_seconds=profile.frame_seconds,
        spread=profile.spread[here],
        mix=profile.mix[here],
        vocals=profile.vocals[:, here],
    )


def _disputed(profile: Profile, start: float, stop: float) -> Disputed:
    first, last = (round((edge - profile.start_seconds) / profile.frame_seconds) for edge in (start, stop))
    here = slice(first, max(first + 1, last))
    reference = float(profile.mix.mean())

    def level(energy: NDArray[np.float64]) -> float:
        return round(float(decibels(np.array([energy[here].mean()]), reference)[0]), 1)

    return Disputed(
        start_seconds=round(start, 1),
        end_seconds=round(stop, 1),
        level_db=level(profile.spread),
        vocals_db={name: level(energy) for name, energy in zip(profile.models, profile.vocals, strict=True)},
    )
