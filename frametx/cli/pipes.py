"""`-` as a song and as an output: one song through stdin and stdout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from frametx.errors import AudioError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPE = Path("-")


@contextmanager
def without_pipes(inputs: list[Path], output: Path) -> Iterator[tuple[list[Path], Path]]:
    """Put files in the place of `-`: stdin is read into one, and one that appears in the output is written to stdout.

    Audio files have their index at the end or their length at the beginning, so neither can do without a file.

    Raises:
        UsageError: More than one song would go through a pipe.
        AudioError: Nothing comes from stdin.
    """
    if PIPE not in inputs and output != PIPE:
        yield inputs, output
        return
    if len(inputs) != 1:
        raise UsageError("one song alone can go through - (stdin or stdout)", "separate the others by themselves")
    if output == PIPE and sys.stdout.isatty():
        raise UsageError("stdout is a terminal", "redirect it: frametx separate song.flac -o - > instrumental.flac")
    with tempfile.TemporaryDirectory(prefix="frametx-") as folder:
        song = _from_stdin(Path(folder)) if inputs == [PIPE] else inputs[0]
        target = Path(folder) / "out" if output == PIPE else output
        yield [song], target
        if output == PIPE:
            _to_stdout(target)


def _from_stdin(folder: Path) -> Path:
    song = folder / "stdin"
    with song.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    if song.stat().st_size == 0:
        raise AudioError("nothing came from stdin", "pipe a song into it: frametx separate - < song.flac")
    return song


def _to_stdout(folder: Path) -> None:
    stems = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
    for stem in stems:
        with stem.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
    sys.stdout.buffer.flush()
