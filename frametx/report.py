"""The report of one result: a page that holds everything, a sheet of pictures, and the figures as JSON."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frametx import __version__
from frametx.audio.tags import read_tags
from frametx.disagreement import disputed_ranges
from frametx.edit_list import EditList, section_values
from frametx.edit_list_file import read_edit_list
from frametx.errors import AudioError, EditListError, FrametxError, UsageError, reason_of
from frametx.finished_song import edit_list_path
from frametx.ledger import ledgers_above
from frametx.naming import Naming
from frametx.outputs import Stem
from frametx.paths import with_parents
from frametx.provenance import TAG, is_of_a_part, known_sha256
from frametx.renaming import write_whole
from frametx.report_audio import audio_sources
from frametx.report_figures import TRACKS, Figures, measure
from frametx.report_files import ReportFiles, track_of
from frametx.report_page import Page, render_page
from frametx.report_pictures import write_sheet
from frametx.songs import SongFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from frametx.disagreement import Profile
    from frametx.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A result on disk and what is known about it.

    Attributes:
        track: The name its stems begin with.
        folder: Where they lie.
        stems: Both stems.
        song: The song, if it is at hand and the stems are of all of it.
        edits: Its edit list, if a section was redone.
        origin: Models, parameters and version, from the stems' tags; empty when they say nothing.
    """

    track: str
    folder: Path
    stems: Mapping[Stem, Path]
    song: Path | None
    edits: EditList | None
    origin: Mapping[str, Any]


def find_results(
    result: Path, song: Path | None = None, *, on_failed: Callable[[FrametxError], None] | None = None
) -> list[Finding]:
    """What a person means by RESULT: a stem, an edit list, or a folder with stems.

    Args:
        result: The path.
        song: The song, where the result doesn't say or it has moved.
        on_failed: Told what is wrong with a song of a folder that has no whole result, which is left out; None: raise.

    Raises:
        AudioError: There are no stems, or one of two.
        EditListError: An edit list cannot be read.
        UsageError: One song is named for several results.
    """
    if not result.exists():
        raise AudioError(f"{result} does not exist", "name a stem, an edit list, or a folder with stems")
    if result.suffix == ".toml":
        return [_finding_of_list(result, song)]
    if not result.is_dir():
        return [_finding([result], song, ledgers_above(result.parent))]
    tracks = _stems_in(result)
    if song is not None and len(tracks) > 1:
        raise UsageError(f"{result} holds the stems of {len(tracks)} songs, --song names one", "name a stem")
    ledgers = ledgers_above(result)
    findings = []
    for paths in tracks:
        try:
            findings.append(_finding(paths, song, ledgers))
        except FrametxError as error:
            if on_failed is None:
                raise
            on_failed(error)
    return findings


def finding_of(song: Path, stems: Mapping[Stem, Path]) -> Finding:
    """A result that is finished, wherever it lies and whatever it is called."""
    vocals = stems[Stem.VOCALS]
    return _found(track_of(vocals), stems, song, _edits_of(song, stems))


def write_report(
    finding: Finding,
    folder: Path | None = None,
    *,
    profile: Profile | None = None,
    elapsed_seconds: float | None = None,
    audio: str = "auto",
) -> ReportFiles:
    """Write `<track>.report.html`, `.png` and `.json`.

    Args:
        finding: The result.
        folder: Where to; None: beside the stems.
        profile: Where models disagree, if that was measured.
        elapsed_seconds: How long the separation took, if that is known.
        audio: embed, link, or auto: embed unless the page would grow beyond some 32 MB.

    Raises:
        AudioError: A file cannot be read, or the report cannot be written.
    """
    folder = folder or finding.folder
    figures = measure(finding.stems, finding.song)
    title = _title(finding)
    values = _values(finding, figures, profile, elapsed_seconds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = ReportFiles.of_track(folder, finding.track)
        tracks = {"mix": finding.song, **{stem.value: path for stem, path in finding.stems.items()}}
        sources = audio_sources(
            {track: path for track in TRACKS if (path := tracks[track]) is not None},
            figures.seconds,
            report.page,
            audio,
        )
        page = render_page(Page(title=title, values=values, figures=figures, profile=profile, audio=sources))
        report.figures.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        write_sheet(figures, title, report.sheet, profile)
        # last: by it a report is known to be done; names that are no text (they are bytes on most systems) show as ?
        write_whole(report.page, page, "replace")
    except OSError as error:
        raise AudioError(
            f"the report cannot be written to {folder}: {reason_of(error)}", "choose another folder with -o"
        ) from error
    return report


def _stems_in(folder: Path) -> list[list[Path]]:
    """The vocals in a folder, track by track: one file, or several in different formats."""
    label = f"_{Stem.VOCALS.label}"
    tracks: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"*{label}.*")):
        if not path.name.startswith("."):
            tracks.setdefault(path.stem.removesuffix(label), []).append(path)
    if not tracks:
        raise AudioError(f"{folder} holds no stems (<track>{label}.*)", "name a stem, or another folder")
    return list(tracks.values())


def _finding_of_list(path: Path, song: Path | None) -> Finding:
    edits = read_edit_list(path)
    track = path.name.removesuffix(".frametx.toml")
    stems = {stem: file.path for stem, file in edits.stems.items()}
    if not _are_there(stems):
        raise _incomplete(path.parent, track)
    return _found(track, stems, song or _first_there(edits.song.path), edits)


def _finding(paths: Sequence[Path], song: Path | None, ledgers: Sequence[Ledger]) -> Finding:
    """The result that stems of one track belong to, given in one or several formats; the first that is whole."""
    folder, track = paths[0].parent, track_of(paths[0])
    made_of, together = next((known for ledger in ledgers if (known := ledger.made_with(paths[0]))), (None, {}))
    # names that are too long are cut, each file's elsewhere: only the song's own name tells them all
    names = [name for name in (song, made_of, Path(f"{track}.flac")) if name is not None]
    for name, path in itertools.product(names, paths):
        stems = Naming().targets(SongFile(path=name), folder, Stem, path.suffix[1:])
        if path in stems.values() and _are_there(stems):
            break
    else:
        name, stems = made_of or names[0], dict(together)
        if stems.keys() != set(Stem) or not _are_there(stems):
            raise _incomplete(folder, track)
    list_path = _list_of(name, stems)
    edits = None if list_path is None else read_edit_list(list_path)
    return _found(track, stems, song or _first_there(edits.song.path if edits is not None else None, made_of), edits)


def _found(track: str, stems: Mapping[Stem, Path], song: Path | None, edits: EditList | None) -> Finding:
    vocals = stems[Stem.VOCALS]
    origin = _origin(vocals)
    if is_of_a_part(origin.get("parameters", {})):
        song = None  # all of it is nothing to compare them with, to hear beside them, or to name them by
    return Finding(track=track, folder=vocals.parent, stems=stems, song=song, edits=edits, origin=origin)


def _edits_of(song: Path, stems: Mapping[Stem, Path]) -> EditList | None:
    """The edit list of stems, if it is what they were made by."""
    path = _list_of(song, stems)
    try:
        edits = None if path is None else read_edit_list(path)
    except EditListError:  # damaged: that is for `redo` to say
        edits = None
    if edits is None:
        return None
    made = {file.path.absolute(): file.sha256 for file in edits.stems.values()}
    return edits if all(made.get(stem.absolute()) == known_sha256(stem) for stem in stems.values()) else None


def _list_of(song: Path, stems: Mapping[Stem, Path]) -> Path | None:
    """The file of the edit list of stems: beside them, or in an output folder above, below which --name made folders."""
    folder = stems[Stem.VOCALS].parent
    for output in with_parents(folder):
        path = edit_list_path(song, output, stems)
        if path.is_file():
            return path
    return None


def _first_there(*songs: Path | None) -> Path | None:
    return next((song for song in songs if song is not None and song.is_file()), None)


def _are_there(stems: Mapping[Stem, Path]) -> bool:
    return all(path.is_file() for path in stems.values())


def _incomplete(folder: Path, track: str) -> AudioError:
    return AudioError(
        f"{folder} does not hold both stems of {track}",
        "a report is of stems, an instrumental and vocals: name one of them, or their folder",
    )


def _origin(stem: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_tags(stem).first(TAG) or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _title(finding: Finding) -> str:
    tags = read_tags(finding.song) if finding.song is not None else None
    title, artist = (tags.first("title"), tags.first("artist")) if tags is not None else (None, None)
    text = f"{artist} - {title}" if title and artist else title or finding.track
    return text.encode("utf-8", "replace").decode()


def _values(
    finding: Finding, figures: Figures, profile: Profile | None, elapsed_seconds: float | None
) -> dict[str, Any]:
    """Everything that the page says in words, for programs."""
    per_second = _per_second(figures.levels_db["vocals"], figures.seconds)
    return {
        "frametx": __version__,
        "track": finding.track,
        "song": None if finding.song is None else str(finding.song),
        "stems": {stem.value: str(path) for stem, path in finding.stems.items()},
        "seconds": round(figures.seconds, 3),
        "sample_rate": figures.sample_rate,
        "channels": figures.channels,
        "bit_depth": figures.bits,
        "peaks": {track: round(peak, 5) for track, peak in figures.peaks.items()},
        "samples_at_full_scale": dict(figures.n_clipped),
        "residual": figures.residual,
        "samples_not_exact": figures.n_inexact,
        "song_resampled_from": figures.resampled_from,
        "elapsed_seconds": elapsed_seconds,
        "times_real_time": None if not elapsed_seconds else round(figures.seconds / elapsed_seconds, 2),
        "models": finding.origin.get("models", []),
        "parameters": finding.origin.get("parameters", {}),
        "made_by": finding.origin.get("version"),
        "sections": [] if finding.edits is None else [section_values(one) for one in finding.edits.sections],
        "vocals_db_per_second": per_second,
        "disagreement": None
        if profile is None
        else {
            "models": list(profile.models),
            "ranges": [
                {"start_seconds": one.start_seconds, "end_seconds": one.end_seconds, "db": one.level_db}
                for one in disputed_ranges(profile)
            ],
        },
    }


def _per_second(levels_db: Any, seconds: float) -> list[float]:
    """The level of every second, from columns that may be shorter or longer than that."""
    n_seconds = max(1, round(seconds))
    at = (np.arange(len(levels_db)) * n_seconds // len(levels_db)).astype(int)
    energy = np.bincount(at, 10.0 ** (levels_db / 10), n_seconds) / np.maximum(1, np.bincount(at, minlength=n_seconds))
    filled = np.interp(np.arange(n_seconds), np.flatnonzero(energy > 0), energy[energy > 0]) if energy.any() else energy
    return [round(float(10 * np.log10(max(one, 1e-12))), 1) for one in filled]
