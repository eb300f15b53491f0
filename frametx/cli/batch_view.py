"""Showing a batch: lines for people on stderr, or JSON for programs on stdout."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from frametx.cli.console import say, say_error
from frametx.cli.progress import SongProgress, song_progress
from frametx.clock import clock_text
from frametx.errors import reason_of
from frametx.events import Done, Event, Failed, Note, Progress, Skipped, Start, Summary
from frametx.process import peak_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SKIPPED_SHOWN = 5


class TextView:
    """Lines for people: where stems are, notes, errors and the summary.

    Args:
        progress: The lines with bars.
        quiet: Errors only.
        verbose: Everything that was passed over, too.
        paths: Where stems are; not when they go through a pipe.
    """

    def __init__(self, progress: SongProgress, *, quiet: bool, verbose: bool, paths: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._verbose = verbose
        self._paths = paths
        self._failed: list[Failed] = []
        self._n_skipped_shown = 0

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Progress):
            self._progress.show(event.song, event.stage, event.done)
        elif isinstance(event, Start):
            self._progress.start(event.song, _label(event), event.seconds)
        elif isinstance(event, Failed):
            self._progress.stop(event.song)
            self._failed.append(event)
            say_error(event.message, event.hint)
            if event.traceback:
                say(event.traceback)
        elif isinstance(event, Done):
            self._progress.stop(event.song)
            self._say_done(event)
        elif isinstance(event, Summary) and not self._quiet:
            self._say_summary(event)
        elif isinstance(event, Skipped) and not self._quiet:
            self._say_skipped(event)
        elif isinstance(event, Note) and not self._quiet:
            say(f"note: {event.message}")

    def _say_done(self, event: Done) -> None:
        if self._quiet:
            return
        if self._paths:
            for path in (*event.stems.values(), *event.others):
                say(f"  {path}")
        if self._verbose:
            say(f"    {event.seconds:.1f} s in {event.elapsed_seconds:.1f} s")
        for text in event.notes:
            say(f"  note: {text}")

    def _say_skipped(self, event: Skipped) -> None:
        self._n_skipped_shown += 1
        if self._verbose or self._n_skipped_shown <= _SKIPPED_SHOWN:
            say(f"  skipped {event.song}: {event.reason}")

    def _say_summary(self, event: Summary) -> None:
        if self._n_skipped_shown > _SKIPPED_SHOWN and not self._verbose:
            say(f"  ... and {self._n_skipped_shown - _SKIPPED_SHOWN} more skipped; --verbose lists them")
        if len(self._failed) > 1 or (self._failed and event.done > 1):
            say("failed:")
            for failed in self._failed:
                say(f"  {failed.song}: {failed.message}")
        if not (event.done or event.skipped or event.interrupted):
            return
        songs = f"{event.done} song" + ("s" if event.done != 1 else "")
        memory = peak_memory_bytes()
        say(
            f"{songs} ({clock_text(event.seconds, 0)}) in {clock_text(event.elapsed_seconds, 0)}"
            + (f", {event.seconds / event.elapsed_seconds:.1f} x real time" if event.done else "")
            + (f", peak memory {memory / 2**30:.1f} GiB" if memory and event.done else "")
            + (f"; {event.skipped} skipped" if event.skipped else "")
            + (f"; {event.failed} failed" if event.failed else "")
        )
        if event.interrupted:
            say("interrupted: the same command goes on where this one stopped")


class JsonView:
    """Every event as a line of JSON on stdout; when it takes no more the work still goes on."""

    def __call__(self, event: Event) -> None:
        """Write an event."""
        try:
            sys.stdout.write(event.to_json() + "\n")
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):  # whoever closed the pipe knows that
                say(f"note: no more events can be written to stdout: {reason_of(error)}; the work goes on")


@contextmanager
def batch_view(*, json: bool, quiet: bool, verbose: bool, paths: bool) -> Iterator[Callable[[Event], None]]:
    """What shows the events of a batch."""
    if json:
        yield JsonView()
        return
    with song_progress(quiet=quiet) as progress:
        yield TextView(progress, quiet=quiet, verbose=verbose, paths=paths)


def _label(event: Start) -> str:
    name = Path(event.song).name
    return name if event.count == 1 else f"{event.index}/{event.count} {name}"
