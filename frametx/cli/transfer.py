"""How downloads look: a bar with speed and time left on a terminal, else a line at every tenth."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from frametx.cli.console import console, say
from frametx.download.job import amount, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID


class Transfer:
    """Shows files under way; given to the store as `on_bytes` and `on_note`."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._task: TaskID | None = None
        self._name = ""
        self._tenth = 0
        self._started = 0.0
        self._first = 0
        self._last: int | None = None

    def start(self, name: str) -> None:
        """Begin with another file."""
        self.stop()
        self._name, self._last = name, None

    def stop(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def on_bytes(self, done: int, total: int | None) -> None:
        """Show how far a file is."""
        if self._last is None or done < self._last:  # the first bytes of a file, or of the next one
            self.stop()
            self._first, self._tenth, self._started = done, 0, time.monotonic()
        self._last = done
        if not self._progress.disable:
            if self._task is None:  # what an earlier run left counts for the bar, not for the speed
                self._task = self._progress.add_task(self._name, total=total, completed=done)
            self._progress.update(self._task, completed=done, total=total)
        elif total and not self._quiet and done * 10 // total > self._tenth:
            self._tenth = done * 10 // total
            self._say(f"{self._tenth * 10} % of {amount(total)}{self._pace(done, total)}")

    def on_note(self, note: str) -> None:
        """Show what a person may want to know."""
        if not self._quiet:
            self._say(note)

    def _say(self, text: str) -> None:
        say(f"{self._name}: {text}" if self._name else text)

    def _pace(self, done: int, total: int) -> str:
        seconds = time.monotonic() - self._started
        speed = (done - self._first) / seconds if seconds > 0 else 0.0
        if speed <= 0:
            return ""
        left = f", {span((total - done) / speed)} left" if done < total else ""
        return f", {amount(speed)}/s{left}"


@contextmanager
def transfer(*, quiet: bool = False) -> Iterator[Transfer]:
    """Progress of downloads on stderr."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with progress:
        yield Transfer(progress, quiet=quiet)
