"""One song of many: the work, said in values that can be sent to another process, and doing it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from frametx.audio.info import AudioInfo
from frametx.audio.reader import probe
from frametx.disagreement import DisagreementMeter
from frametx.diskspace import check_room, stems_bytes
from frametx.errors import FrametxError
from frametx.estimate import LONG_SECONDS, MOST_SPEED, network_seconds
from frametx.events import Done, Event, Failed, Note, Progress, Start
from frametx.outputs import OutputOptions, Stem, bit_depth_for
from frametx.report_files import ReportFiles
from frametx.video import is_own_video, make_video, video_target

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.provenance import Recipe
    from frametx.separator import Separator
    from frametx.setup import Setup
    from frametx.stream import Watch

Emit = Callable[[Event], None]

_PROGRESS_STEP = 0.01
_PROGRESS_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all songs of a batch have in common.

    Attributes:
        setup: Models and how they run.
        options: How stems are written.
        recipe: What both stand for.
        start_seconds: Where sections begin.
        end_seconds: Where they end; None: at the end.
        video: Make a video of each instrumental.
        report: Make a page to look at and listen to for each song.
    """

    setup: Setup
    options: OutputOptions
    recipe: Recipe
    start_seconds: float = 0.0
    end_seconds: float | None = None
    video: bool = False
    report: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One song to separate.

    Attributes:
        song: The file.
        targets: Where its stems go.
        index: Its number in the batch, from 1.
        count: How many songs the batch has.
        overwrite: Whether files at the targets may be replaced.
        done: Which of the stems are done already, and stay as they are.
        guessed_seconds: About how long it is.
    """

    song: Path
    targets: Mapping[Stem, Path]
    index: int = 1
    count: int = 1
    overwrite: bool = False
    done: frozenset[Stem] = frozenset()
    guessed_seconds: float = 0.0

    @property
    def has_stems(self) -> bool:
        """Whether all stems are done already and only what is made of them is not."""
        return self.done == self.targets.keys()


def run_job(separator: Separator, work: Work, job: Job, emit: Emit) -> None:
    """Separate one song and say how it went; a failure is an event too and never an exception.

    An interruption (Ctrl-C) passes through, with nothing left half-written.
    """
    song = str(job.song)
    try:
        seconds = _look_first(work, job)
        emit(Start(song=song, index=job.index, count=job.count, seconds=seconds))
        done = Done(song=song, stems=paths_of(job.targets), seconds=0.0, elapsed_seconds=0.0, notes=(), song_sha256="")
        meter = DisagreementMeter()
        if not job.has_stems:
            done = _separate(separator, work, job, emit, meter if work.report else None)
        others = []
        # beside stems that were done before only what is not there, or is of stems before them, is made
        if work.video and (not job.has_stems or lacks_video(work, job.song, job.targets)):
            instrumental = job.targets[Stem.INSTRUMENTAL]
            # stems may be replaced, but of what has a video's name only frametx's own
            replaces = work.options.overwrite or is_own_video(video_target(job.song, instrumental))
            others.append(make_video(job.song, instrumental, overwrite=replaces))
        if work.report and (not job.has_stems or lacks_report(work, job.targets)):
            others.append(_report(separator, job, meter, done.elapsed_seconds))
        done = replace(done, others=tuple(map(str, others)))
    except FrametxError as error:
        emit(Failed(song=song, message=error.message, hint=error.hint))
    except Exception as error:  # noqa: BLE001  (whatever is wrong with this song, the others can do without)
        emit(Failed(song=song, message=f"{job.song}: {error!r}", traceback=traceback.format_exc()))
    else:
        emit(done)


def paths_of(targets: Mapping[Stem, Path]) -> dict[str, str]:
    """Stems as events name them."""
    return {stem.value: str(target) for stem, target in targets.items()}


def lacks_video(work: Work, song: Path, targets: Mapping[Stem, Path]) -> bool:
    """Whether a video is wanted and none of this instrumental is there; what is wrong with the song is said later."""
    if not work.video:
        return False
    instrumental = targets[Stem.INSTRUMENTAL]
    try:
        return not _is_made_of(video_target(song, instrumental), [instrumental])
    except FrametxError:
        return True


def lacks_report(work: Work, targets: Mapping[Stem, Path]) -> bool:
    """Whether a report is wanted and none of these stems is there."""
    return work.report and not _is_made_of(ReportFiles.beside(targets).page, targets.values())


def _is_made_of(made: Path, stems: Iterable[Path]) -> bool:
    """Whether a file is there and no older than the stems: those of other parameters, or before a redo, are no more."""
    try:
        return made.stat().st_mtime_ns >= max(stem.stat().st_mtime_ns for stem in stems)
    except OSError:
        return False


def _separate(separator: Separator, work: Work, job: Job, emit: Emit, watch: Watch | None) -> Done:
    result = separator.separate_file(
        job.song,
        {stem: target for stem, target in job.targets.items() if stem not in job.done},
        replace(work.options, overwrite=job.overwrite),
        start_seconds=work.start_seconds,
        end_seconds=work.end_seconds,
        progress=_Throttled(str(job.song), emit),
        recipe=work.recipe,
        watch=watch,
    )
    return Done(
        song=str(job.song),
        stems=paths_of(job.targets),
        seconds=result.seconds,
        elapsed_seconds=result.elapsed_seconds,
        notes=result.notes,
        song_sha256=result.song_sha256,
    )


def _report(separator: Separator, job: Job, meter: DisagreementMeter, elapsed_seconds: float) -> Path:
    """Make the report of a song whose stems are done; returns the page."""
    from frametx.report import finding_of, write_report  # noqa: PLC0415  (matplotlib)

    profile = meter.profile([model.name for model in separator.models], hop=separator.framing.hop)
    finding = finding_of(job.song, job.targets)
    return write_report(finding, profile=profile, elapsed_seconds=elapsed_seconds or None).page


def warn_of_long_job(separator: Separator, work: Work, job: Job, emit: Emit) -> None:
    """Say how long a song will take, before it begins, if that is more than a minute."""
    try:
        seconds = _length(work, probe(job.song))
        if seconds is None or seconds < LONG_SECONDS / MOST_SPEED:
            return
        needed = network_seconds(separator.maskers, separator.windows, seconds)
    except (FrametxError, RuntimeError, MemoryError):
        return  # what is wrong, with the song or the device's memory, is said when its turn comes
    if needed > LONG_SECONDS:
        others = f"; there are {job.count} songs" if job.count > 1 else ""
        emit(Note(message=f"{job.song.name} will take about {round(needed / 60)} min{others}"))


def _length(work: Work, info: AudioInfo) -> float | None:
    """Seconds of the part of a song that is wanted, if its header says how long it is."""
    if info.n_samples is None:
        return None
    end = info.n_samples / info.sample_rate
    return max(0.0, (end if work.end_seconds is None else min(end, work.end_seconds)) - work.start_seconds)


def _look_first(work: Work, job: Job) -> float | None:
    """The song's length, if its header says so, and whether there is room for its stems."""
    info = probe(job.song)
    seconds = _length(work, info)
    if seconds is None:
        return None
    bytes_per_sample = {16: 2, 24: 3, "float": 4}[bit_depth_for(work.options, info)]
    needed = stems_bytes(
        work.options,
        seconds=seconds,
        sample_rate=info.sample_rate,
        channels=min(info.channels, 2),
        bytes_per_sample=bytes_per_sample,
    )
    check_room(next(iter(job.targets.values())).parent, needed)
    return seconds


class _Throttled:
    """Progress as events, not more than a person or a program can use."""

    def __init__(self, song: str, emit: Emit) -> None:
        self._song = song
        self._emit = emit
        self._stage = ""
        self._done = 0.0
        self._when = 0.0

    def __call__(self, stage: str, done: float) -> None:
        now = time.monotonic()
        worth_it = done - self._done >= _PROGRESS_STEP and now - self._when >= _PROGRESS_SECONDS
        if stage != self._stage or worth_it or (done == 1.0 and self._done < 1.0):
            self._stage, self._done, self._when = stage, done, now
            self._emit(Progress(song=self._song, stage=stage, done=round(done, 4)))
