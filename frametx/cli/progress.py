"""Progress lines for songs. Rich's progress takes long to import, so commands import this module when they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from frametx.cli.console import console


class SpeedColumn(ProgressColumn):
    """How many seconds of audio are separated in a second."""

    def render(self, task: Task) -> Text:
        """`3.2 x real time`, once it is known."""
        seconds = task.fields.get("seconds")
        if not seconds or not task.elapsed or not task.completed:
            return Text("")
        return Text(f"{seconds * task.completed / task.elapsed:.1f} x real time", style="cyan")


class SongProgress:
    """One line for each song under way: name, bar, time left, speed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def start(self, song: str, label: str, seconds: float | None) -> None:
        """Begin a song of so many seconds, if that is known."""
        self.stop(song)
        self._tasks[song] = self._progress.add_task(label, total=1.0, seconds=seconds)

    def show(self, song: str, stage: str, done: float) -> None:
        """Show the network's progress; the survey before it is too short to show."""
        if song in self._tasks and stage == "separate":
            self._progress.update(self._tasks[song], completed=done)

    def stop(self, song: str) -> None:
        """Take the song's line away."""
        if song in self._tasks:
            self._progress.remove_task(self._tasks.pop(song))


@contextmanager
def song_progress(*, quiet: bool = False) -> Iterator[SongProgress]:
    """Progress lines on stderr; nothing where stderr is no terminal or `quiet` is wanted."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True),
        SpeedColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with progress:
        yield SongProgress(progress)


@contextmanager
def one_song_progress(name: str, *, quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """One line while a network is at work on one song; give what is yielded as `progress`."""
    with song_progress(quiet=quiet) as lines:
        lines.start(name, name, None)
        yield lambda stage, done: lines.show(name, stage, done)
