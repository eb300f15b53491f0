"""Which files are songs: what a person named, and what lies in folders."""

from __future__ import annotations


from frametx.errors import AudioError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from collections.abc import Iterable

SUFFIXES = frozenset(
    (
        *(".aac", ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp3", ".oga", ".ogg"),
        *(".opus", ".w64", ".wav", ".wma", ".mkv", ".mov", ".mp4", ".webm"),
    )
)
"""What is taken for a song in a folder; a file named by itself may be called anything."""


def find_songs(inputs: Iterable[Path]) -> list[Path]:
    """List the songs that inputs stand for: files as named, folders as the songs in them, sorted by name.

    Raises:
        AudioError: A folder holds no song.
    """
    songs: list[Path] = []
    for path in inputs:
        if not path.is_dir():
            songs.append(path)
            continue
        found = sorted(
            entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
        )
        if not found:
            raise AudioError(f"the folder {path} holds no songs", "name files, or another folder")
        songs += found
    return songs
