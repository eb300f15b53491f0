"""Many songs: what is to do and what is done already, going on after failures, and the sum of it all.

One song is a batch of one; there is no other way through the program.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from frametx.audio.partfile import remove_abandoned_parts
from frametx.diskspace import RESERVE_BYTES, free_bytes, guess_seconds, stems_bytes
from frametx.errors import FrametxError
from frametx.events import Done, Event, Failed, Note, Skipped, Summary
from frametx.images import copy_images
from frametx.job import Emit, Job, Work, lacks_report, lacks_video, paths_of, run_job, warn_of_long_job
from frametx.ledger import Standing
from frametx.naming import Naming, check_collisions
from frametx.separator import Separator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from frametx.ledger import Ledger
    from frametx.songs import Listing


class Runner(Protocol):
    """Something that does jobs: in this process, in several, or on a cluster."""

    longest_first: bool
    """Whether long songs should come first, so that none is left for the end."""

    def run(self, work: Work, jobs: Iterator[Job], emit: Emit) -> None:
        """Do every job the iterator gives, taking each only when it can begin; failures are events."""


class InProcess:
    """Does one job after the other, here; the models are loaded at the first."""

    longest_first = False

    def run(self, work: Work, jobs: Iterator[Job], emit: Emit) -> None:
        """Do every job in order."""
        separator: Separator | None = None
        for job in jobs:
            if separator is None:
                separator = Separator(work.setup)
                warn_of_long_job(separator, work, job, emit)
            run_job(separator, work, job, emit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch before it begins.

    Attributes:
        jobs: What is to do.
        settled: What is known about songs that need no work or cannot be done.
        folders: Each folder with songs and the one that their stems go to.
    """

    jobs: tuple[Job, ...]
    settled: tuple[Event, ...]
    folders: tuple[tuple[Path, Path], ...] = ()


def plan_batch(
    listing: Listing, naming: Naming, output: Path, work: Work, *, ledger: Ledger, overwrite: bool = False
) -> Plan:
    """Decide for every song what is to do, before any work.

    Args:
        listing: The songs.
        naming: How stems are named.
        output: The folder below which they go.
        work: What is wanted.
        ledger: What is known of earlier runs.
        overwrite: Do everything again and replace whatever is there.

    Raises:
        UsageError: Two stems would get one name, or one that of a song.
    """
    targets = [naming.targets(song, output, work.options.stems, work.options.format) for song in listing.songs]
    paths = [song.path for song in listing.songs]
    check_collisions(zip(paths, targets, strict=True))
    jobs: list[Job] = []
    settled: list[Event] = [Skipped(song=str(one.path), reason=one.reason) for one in listing.skipped]
    for index, (path, files) in enumerate(zip(paths, targets, strict=True), 1):
        try:
            standing = Standing(replaces=True) if overwrite else ledger.standing(path, files, work.recipe)
        except FrametxError as error:
            settled.append(Failed(song=str(path), message=error.message, hint=error.hint))
            continue
        if standing.done == files.keys() and not lacks_video(work, path, files) and not lacks_report(work, files):
            settled.append(Skipped(song=str(path), reason="done already with these parameters", stems=paths_of(files)))
            continue
        jobs.append(
            Job(
                song=path,
                targets=files,
                index=index,
                count=len(paths),
                overwrite=standing.replaces,
                done=standing.done,
                guessed_seconds=guess_seconds(path, _size_of(path)),
            )
        )
    folders = {
        (path.parent, next(iter(files.values())).parent): None for path, files in zip(paths, targets, strict=True)
    }
    return Plan(jobs=tuple(jobs), settled=tuple(settled), folders=tuple(folders))


def run_batch(
    plan: Plan,
    work: Work,
    runner: Runner,
    emit: Emit,
    *,
    ledger: Ledger | None,
    fail_fast: bool = False,
    images: bool = False,
) -> Summary:
    """Do a plan. Every event goes to `emit`, the summary last, even after an interruption.

    Args:
        plan: What is to do.
        work: What the jobs have in common.
        runner: What does the jobs.
        emit: Told everything that happens.
        ledger: Where finished songs are written down; None: nowhere.
        fail_fast: Begin no further song after a failure.
        images: Copy the pictures in the songs' folders, too.

    Raises:
        KeyboardInterrupt: After the summary, if that is what ended the batch.
        FrametxError: After the summary, if nothing can be separated at all.
    """
    tally = _Tally(plan.jobs, work, emit, ledger)
    for event in plan.settled:
        tally(event)
    for folder in {target.parent for job in plan.jobs for target in job.targets.values()}:
        remove_abandoned_parts(folder)
    warning = _room_warning(plan.jobs, work)
    if warning:
        tally(Note(message=warning))
    jobs: Sequence[Job] = plan.jobs
    if runner.longest_first:
        jobs = sorted(jobs, key=lambda job: -job.guessed_seconds)
    try:
        runner.run(work, _until(jobs, lambda: fail_fast and tally.failed > 0), tally)
    except KeyboardInterrupt:
        emit(tally.summary(interrupted=True))
        raise
    except FrametxError:  # a model that cannot be loaded: who reads the events learns that nothing more comes
        emit(tally.summary())
        raise
    for pair in plan.folders if images else ():
        try:
            copy_images(*pair)
        except FrametxError as error:
            tally(Note(message=error.message))
    summary = tally.summary()
    emit(summary)
    return summary


class _Tally:
    """Counts events on their way, and writes down what is done."""

    def __init__(self, jobs: Iterable[Job], work: Work, emit: Emit, ledger: Ledger | None) -> None:
        self._jobs = {str(job.song): job for job in jobs}
        self._work = work
        self._emit = emit
        self._ledger = ledger
        self._started = time.perf_counter()
        self._seconds = 0.0
        self._done = self._skipped = self.failed = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Done):
            self._done += 1
            self._seconds += event.seconds
            self._write_down(event)
        self._skipped += isinstance(event, Skipped)
        self.failed += isinstance(event, Failed)
        self._emit(event)

    def summary(self, *, interrupted: bool = False) -> Summary:
        return Summary(
            done=self._done,
            skipped=self._skipped,
            failed=self.failed,
            seconds=self._seconds,
            elapsed_seconds=time.perf_counter() - self._started,
            interrupted=interrupted,
        )

    def _write_down(self, event: Done) -> None:
        job = self._jobs[event.song]
        # what was done before, and perhaps worked on by hand since, is not what this run wrote
        stems = {stem: target for stem, target in job.targets.items() if stem not in job.done}
        if self._ledger is None or not stems:
            return
        try:
            self._ledger.finish(job.song, event.song_sha256, stems, self._work.recipe)
        except (FrametxError, OSError) as error:  # the stems are there and say by their tags what they are
            self._emit(Note(message=f"{job.song}: {error}"))


def _until(jobs: Iterable[Job], stopped: Callable[[], bool]) -> Iterator[Job]:
    for job in jobs:
        if stopped():
            return
        yield job


def _room_warning(jobs: Sequence[Job], work: Work) -> str | None:
    """What to say when the disk will probably not hold all the stems; each song is checked exactly before it begins."""
    if len(jobs) < 2:
        return None
    needed = sum(stems_bytes(work.options, seconds=job.guessed_seconds, bytes_per_sample=2) for job in jobs)
    folder = next(iter(jobs[0].targets.values())).parent
    free = free_bytes(folder)
    if free is None or free >= needed + RESERVE_BYTES:
        return None
    return (
        f"the stems of all {len(jobs)} songs need about {needed / 2**30:.1f} GiB, "
        f"and the disk of {folder} has {free / 2**30:.1f} GiB left"
    )


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
