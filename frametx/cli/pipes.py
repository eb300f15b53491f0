"""`-` as a song and as an output: one song through stdin and stdout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from frametx.errors import AudioError, UsageError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from frametx.songs import SongFile

PIPE = Path("-")
_OTHER_FOLDER = "free some space, or name a folder on another disk by TMPDIR"


@contextmanager
def without_pipes(inputs: list[Path], output: Path) -> Iterator[tuple[list[Path], Path]]:
    """Put files in the place of `-`: stdin is read into one, and the output is a folder whose stem `to_stdout` writes.

    Audio files have their index at the end or their length at the beginning, so neither can do without a file.

    Raises:
        UsageError: There is more than stdin, or stdout is a terminal.
        AudioError: Nothing comes from stdin, or there is no place to keep it.
    """
    if PIPE not in inputs and output != PIPE:
        yield inputs, output
        return
    if PIPE in inputs and len(inputs) != 1:
        raise _several()
    if output == PIPE and sys.stdout is None:
        raise UsageError("stdout is closed", "redirect it: frametx separate song.flac -o - > instrumental.flac")
    if output == PIPE and sys.stdout.isatty():
        raise UsageError("stdout is a terminal", "redirect it: frametx separate song.flac -o - > instrumental.flac")
    with _temporary_folder() as folder:
        songs = [_from_stdin(Path(folder))] if inputs == [PIPE] else inputs
        yield songs, Path(folder) / "out" if output == PIPE else output


def open_stdin() -> BinaryIO:
    """The bytes of stdin.

    Raises:
        AudioError: It is closed.
    """
    if sys.stdin is None:
        raise AudioError("stdin is closed", "pipe something into it: frametx separate - < song.flac")
    return sys.stdin.buffer


def refuse_several(songs: Sequence[SongFile]) -> None:
    """Refuse more than one song for one stdout.

    Raises:
        UsageError: There are several.
    """
    if len(songs) > 1:
        raise _several()


def to_stdout(stem: Path) -> None:
    """Write a finished stem's bytes.

    Raises:
        AudioError: There is no room where they go.
        BrokenPipeError: Nobody reads them any more.
    """
    try:
        with stem.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AudioError(f"stdout cannot be written: {reason_of(error)}", "free some space") from error


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        # what an interruption left open cannot be removed on Windows, which must not hide the interruption
        return tempfile.TemporaryDirectory(prefix="frametx-", ignore_cleanup_errors=True)
    except OSError as error:
        raise AudioError(f"no temporary folder can be made: {reason_of(error)}", _OTHER_FOLDER) from error


def _several() -> UsageError:
    return UsageError("one song alone can go through - (stdin or stdout)", "separate the others by themselves")


def _from_stdin(folder: Path) -> Path:
    song = folder / "stdin"
    stdin = open_stdin()
    try:
        with song.open("wb") as file:
            shutil.copyfileobj(stdin, file, 1 << 20)
    except OSError as error:
        raise AudioError(f"stdin cannot be copied into {folder}: {reason_of(error)}", _OTHER_FOLDER) from error
    if song.stat().st_size == 0:
        raise AudioError("nothing came from stdin", "pipe a song into it: frametx separate - < song.flac")
    return song
