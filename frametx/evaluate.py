"""Judging separation on songs whose stems are known.

Each song is the sum of its true stems; it is separated, and the estimates are held against the stems. Beside every figure
stands the baseline: the mixture itself taken for both stems. What a model gains is its SDR above that of the mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from frametx.errors import AudioError, UsageError
from frametx.measures import Measures, decibel, is_silent, measure
from frametx.pairs import StemPair, find_pairs, fitted, read_pair, read_sum
from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.song_samples import Samples

Separate = Callable[["Samples"], tuple["Samples", "Samples"]]
"""Turns a mixture `[2 n]` into instrumental and vocals."""

STEMS = ("instrumental", "vocals")
BASELINE = "mixture"
PADDING_SECONDS = 1.0  # by which other tools' results may be longer or shorter: formats pad
SUNG_SHARE = 0.25  # of the song's median energy by second; windows below it count as not sung


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Which parts of the songs are judged.

    Attributes:
        seconds: Length of the windows; None: whole songs.
        vocals_db: Level of the vocals relative to the instrumental, set in every part anew, dB; None: as they are.
        most: At most so many windows a song, evenly chosen; None: all.
    """

    seconds: float | None = None
    vocals_db: float | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.seconds is not None and self.seconds < 1:
            raise UsageError(f"--window {self.seconds:g} is too short", "use a second or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The measures of one part of a song.

    Attributes:
        song: The song.
        start_seconds: Where the part begins.
        system: What was judged: a model, another tool's folder, or the mixture.
        instrumental: Measures of the instrumental.
        vocals: Measures of the vocals.
    """

    song: str
    start_seconds: float
    system: str
    instrumental: Measures
    vocals: Measures


def evaluate_pairs(
    pairs: Iterable[StemPair], systems: dict[str, Separate | dict[str, StemPair]], windows: Windows
) -> Iterator[Judgement]:
    """Judge systems, and the mixture beside them, on songs.

    Args:
        pairs: Songs with their stems.
        systems: By name, what separates a mixture, or another tool's results by song.
        windows: Which parts are judged.

    Raises:
        AudioError: A stem cannot be read, or a tool's results lack a song or are of another length.
        UsageError: There are results of another tool, and the windows have a level of their own.
    """
    pairs = list(pairs)
    check_results(pairs, {name: found for name, found in systems.items() if isinstance(found, dict)}, windows)
    for pair in pairs:
        instrumental, vocals = read_pair(pair)
        foreign = {
            name: _results(pair, name, found, instrumental.shape[1])
            for name, found in systems.items()
            if isinstance(found, dict)
        }
        for start, stop in parts(vocals, windows):
            true, sung = (
                instrumental[:, start:stop],
                at_level(vocals[:, start:stop], instrumental[:, start:stop], windows),
            )
            mix = true + sung
            estimates: dict[str, tuple[Samples, Samples]] = {BASELINE: (mix, mix)}
            for name, separate in systems.items():
                if isinstance(separate, dict):
                    estimates[name] = (foreign[name][0][:, start:stop], foreign[name][1][:, start:stop])
                else:
                    estimates[name] = separate(mix)
            for name, (played, voice) in estimates.items():
                yield Judgement(
                    song=pair.name,
                    start_seconds=start / SAMPLE_RATE,
                    system=name,
                    instrumental=measure(true, played, mix),
                    vocals=measure(sung, voice, mix),
                )


def parts(vocals: Samples, windows: Windows) -> list[tuple[int, int]]:
    """Sample ranges to judge: the whole song, or its windows with singing (all, when nobody sings)."""
    n_samples = vocals.shape[1]
    if windows.seconds is None:
        return [(0, n_samples)]
    size = round(windows.seconds * SAMPLE_RATE)
    starts = range(0, n_samples - size + 1, size)
    energies = [float(np.square(vocals[:, s : s + size]).mean()) for s in starts]
    sung = [energy for energy in energies if energy > 0]
    least = SUNG_SHARE * float(np.median(sung)) if sung else -1.0
    found = [(s, s + size) for s, energy in zip(starts, energies, strict=True) if energy > least]
    if windows.most is not None and len(found) > windows.most:
        found = [found[round(i)] for i in np.linspace(0, len(found) - 1, windows.most)]
    return found


def at_level(vocals: Samples, instrumental: Samples, windows: Windows) -> Samples:
    """Vocals at the wanted level; as they are when none is wanted or either is silent."""
    if windows.vocals_db is None or is_silent(vocals) or is_silent(instrumental):
        return vocals
    now = decibel(float(np.square(vocals).sum()), float(np.square(instrumental).sum()))
    return vocals * np.float32(10 ** ((windows.vocals_db - now) / 20))


def results_of(folder: Path) -> dict[str, StemPair]:
    """Another tool's results by song.

    Raises:
        AudioError: There are none.
    """
    return {pair.name: pair for pair in find_pairs(folder)}


def check_results(pairs: Sequence[StemPair], results: dict[str, dict[str, StemPair]], windows: Windows) -> None:
    """See whether other tools' results can be judged at all, before hours are spent on separating.

    Raises:
        AudioError: One lacks songs.
        UsageError: The windows have a level of their own.
    """
    if results and windows.vocals_db is not None:
        raise UsageError(
            "--vocals-db changes the mixtures, so results of other tools do not fit them", "leave out one of the two"
        )
    for name, found in results.items():
        lacking = [pair.name for pair in pairs if pair.name not in found]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise AudioError(f"{name} has no results for {lacking[0]}{more}", f"it has {', '.join(list(found)[:5])}")


def _results(pair: StemPair, name: str, found: dict[str, StemPair], n_samples: int) -> tuple[Samples, Samples]:
    """Another tool's stems `[2 n]` of a song, brought to its length."""
    files = found[pair.name]
    assert files.vocals is not None  # find_pairs returns whole pairs
    instrumental, vocals = (read_sum(paths) for paths in (files.instrumental, (files.vocals,)))
    for samples in (instrumental, vocals):
        longer = (samples.shape[1] - n_samples) / SAMPLE_RATE
        if abs(longer) > PADDING_SECONDS:
            raise AudioError(
                f"the results of {name} for {pair.name} are {abs(longer):.1f} s "
                f"{'longer' if longer > 0 else 'shorter'} than it",
                "are they of the same song, and whole?",
            )
    return fitted(instrumental, n_samples), fitted(vocals, n_samples)


def summarise(judgements: list[Judgement]) -> dict[str, Any]:
    """Figures by system: every song's mean over its parts, then mean and median over the songs.

    Returns:
        `{system: {"songs": {song: {stem: {measure: value}}}, "mean": {stem: ...}, "median": {stem: ...}}}`; besides the
        measures a stem has `gain`, its SDR above the mixture's; None where either stem is silent.

    Raises:
        AudioError: Nothing was judged.
    """
    if not judgements:
        raise AudioError("there is nothing to judge: no song is as long as a window", "choose a shorter window")
    systems = list(dict.fromkeys(j.system for j in judgements))
    songs = list(dict.fromkeys(j.song for j in judgements))
    table: dict[str, Any] = {}
    for system in systems:
        by_song = {song: _song_figures(judgements, song, system) for song in songs}
        table[system] = {"songs": by_song}
        for name, average in (("mean", fmean), ("median", median)):
            table[system][name] = {stem: _average([f[stem] for f in by_song.values()], average) for stem in STEMS}
    return table


def _song_figures(judgements: list[Judgement], song: str, system: str) -> dict[str, dict[str, float | None]]:
    mine = [j for j in judgements if j.song == song and j.system == system]
    base = [j for j in judgements if j.song == song and j.system == BASELINE]
    figures = {}
    for stem in STEMS:
        rows = []
        for found, mixed in zip(mine, base, strict=True):
            row = getattr(found, stem).as_dict()
            before = getattr(mixed, stem).sdr
            # where the other stem is silent the mixture is the stem itself, above which there is nothing to gain
            known = mixed.vocals.sdr is not None and mixed.instrumental.sdr is not None
            rows.append({"gain": row["sdr"] - before if known else None} | row)
        figures[stem] = _average(rows, fmean)
    return figures


def _average(rows: list[dict[str, float | None]], average: Callable[[list[float]], float]) -> dict[str, float | None]:
    found = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        known = [value for value in values if value is not None]
        found[key] = average(known) if known else None
    return found
