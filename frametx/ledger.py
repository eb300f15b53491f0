"""What an output folder holds: which stems of which songs, and whether they are what is wanted now.

`<output>/.frametx.jsonl`, the *ledger*, has a line for each finished song. So a second run knows what it need not do again;
where the ledger is lost or a run was killed before it wrote, the stems' own tags say the same.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frametx import __version__
from frametx.audio.tags import read_tags
from frametx.errors import AudioError, reason_of
from frametx.outputs import Stem
from frametx.paths import absolute_path, with_parents
from frametx.provenance import TAG, is_of_a_part, known_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from frametx.provenance import Recipe

LEDGER_NAME = ".frametx.jsonl"
_VIDEO_SUFFIXES = (".mp4", ".mkv")  # as frametx.video names them


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A file's size in bytes and time of its last change."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known about one stem; from its tags alone there are no stamps."""

    stamp: _Stamp | None
    song: _Stamp | None
    song_path: Path | None
    song_sha256: str
    key: str
    is_whole: bool

    def is_wanted(self, song: Path, recipe: Recipe) -> bool:
        """Whether this is what a song and a recipe give."""
        return self.key == recipe.key and self.is_of(song)

    def is_of(self, song: Path) -> bool:
        """Whether a song is the one the stem was made of; its content is read where nothing else settles it."""
        stamp = _stamp_of(song)
        if stamp is None:
            return False
        if stamp == self.song and self.song_elsewhere(song) is None:
            return True
        if self.song is not None and stamp.size != self.song.size:
            return False
        return known_sha256(song) == self.song_sha256

    def song_elsewhere(self, song: Path) -> Path | None:
        """The file that the stem was made of, where that is still there and not the one that is to be separated now.

        A song that was moved, alone or with its library, has left nothing behind.
        """
        path = self.song_path
        if path is None or path == absolute_path(song):
            return None
        try:
            return path if path.is_file() and not path.samefile(song) else None
        except OSError:  # it lay somewhere that is not reached now
            return None


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with a song's stems.

    Attributes:
        done: Which are there, of this song with this recipe, and stay as they are.
        replaces: Whether files at the targets may be replaced.
    """

    done: frozenset[Stem] = frozenset()
    replaces: bool = False


class Ledger:
    """The lines of one output folder.

    Several runs may append at the same time: a line is one write at the end of the file. A line that a crash cut short
    is passed over.

    Args:
        folder: The output folder; may not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LEDGER_NAME
        self._entries: dict[str, _Entry] = {}
        self._together: dict[str, dict[Stem, Path]] = {}
        self._read()

    def standing(self, song: Path, targets: Mapping[Stem, Path], recipe: Recipe) -> Standing:
        """How things stand with a song's stems. Those that are not done are not there or may be replaced.

        Raises:
            AudioError: A file that frametx didn't make, that was changed since, or that belongs to another song, is in
                the way.
        """
        stamps = {stem: stamp for stem, target in targets.items() if (stamp := _stamp_of(target)) is not None}
        if not stamps or _stamp_of(song) is None:  # what is wrong with the song is said when its turn comes
            return Standing()
        entries = {stem: self._entry(targets[stem], stamp) for stem, stamp in stamps.items()}
        done: dict[Stem, _Entry] = {}
        for stem, entry in entries.items():
            if entry is not None and entry.is_wanted(song, recipe):
                done[stem] = entry
            else:
                _refuse_to_replace(targets[stem], stamps[stem], entry, song, recipe)
        if done.keys() != targets.keys():
            # what nobody touched is written once more with what is missing, so that they sum to the song
            done = {stem: entry for stem, entry in done.items() if entry.stamp != stamps[stem]}
        return Standing(done=frozenset(done), replaces=True)

    def products(self) -> set[Path]:
        """The stems that the ledger knows and what their videos would be called, as absolute paths."""
        folder = absolute_path(self._folder)
        stems = {folder / name for name in self._entries}
        videos = {stem.with_suffix(suffix) for stem in stems for suffix in _VIDEO_SUFFIXES}
        songs = {entry.song_path.name for entry in self._entries.values() if entry.song_path}  # wherever they are now
        return stems | {video for video in videos if video.name not in songs}

    def made_with(self, stem: Path) -> tuple[Path, Mapping[Stem, Path]] | None:
        """The song that a stem was made of, wherever it is now, and the stems made at once, itself among them.

        None where the ledger doesn't say.
        """
        entry, together = self._entries.get(self._name(stem)), self._together.get(self._name(stem))
        return None if entry is None or entry.song_path is None or together is None else (entry.song_path, together)

    def finish(self, song: Path, song_sha256: str, targets: Mapping[Stem, Path], recipe: Recipe) -> None:
        """Say that a song is done."""
        status = song.stat()
        self._append(
            {
                "song": {
                    "path": str(absolute_path(song)),
                    "size": status.st_size,
                    "mtime_ns": status.st_mtime_ns,
                    "sha256": song_sha256,
                },
                "stems": {
                    stem.value: {"path": self._name(target), **_stamp_dict(target)} for stem, target in targets.items()
                },
                "key": recipe.key,
                **recipe.as_dict(),
                "frametx": __version__,
                "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            }
        )

    def _entry(self, target: Path, stamp: _Stamp) -> _Entry | None:
        """What is known about a stem that is there: from the ledger, else from its tags."""
        known = self._entries.get(self._name(target))
        if known is not None and known.stamp == stamp:
            return known
        own = _entry_of_tags(target)
        if known is None:
            return own
        if own is None or (own.key, own.song_sha256) == (known.key, known.song_sha256):
            return known
        return own  # not the ledger's file with changes: a run made it and was killed before it could write that down

    def _name(self, target: Path) -> str:
        return Path(os.path.relpath(target, self._folder)).as_posix()

    def _read(self) -> None:
        try:
            text = self._path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise AudioError(
                f"{self._path} cannot be read: {reason_of(error)}", "choose another output folder"
            ) from error
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # cut short, or not ours
                self._take(json.loads(line))

    def _take(self, values: dict[str, Any]) -> None:
        song = values["song"]
        together = {Stem(name): self._folder / stem["path"] for name, stem in values["stems"].items()}
        for stem in values["stems"].values():
            stamp, song_stamp = _Stamp(stem["size"], stem["mtime_ns"]), _Stamp(song["size"], song["mtime_ns"])
            self._entries[str(stem["path"])] = _Entry(
                stamp, song_stamp, Path(song["path"]), song["sha256"], values["key"], _is_whole(values)
            )
            self._together[str(stem["path"])] = together

    def _append(self, values: dict[str, Any]) -> None:
        try:
            with self._path.open("ab+", buffering=0) as file:
                # a line that a crash cut short must not swallow this one
                torn = file.tell() > 0 and _last_byte(file) != b"\n"
                file.write((b"\n" if torn else b"") + json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n")
        except OSError as error:
            raise AudioError(f"{self._path} cannot be written: {reason_of(error)}", "free some space") from error


def ledger_in(folder: Path) -> Ledger | None:
    """The ledger of a folder, to look things up; None where it cannot be read, which only matters to who writes there."""
    try:
        return Ledger(folder)
    except AudioError:
        return None


def ledgers_above(folder: Path) -> list[Ledger]:
    """The ledgers of a folder and of those it lies in: an output folder has stems in folders, too."""
    return [ledger for one in with_parents(folder) if (ledger := ledger_in(one)) is not None]


def products_in(folder: Path) -> set[Path]:
    """What earlier runs with this folder as their output made; see `Ledger.products`."""
    ledger = ledger_in(folder)
    return set() if ledger is None else ledger.products()


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    byte: bytes = file.read(1)
    return byte


def _refuse_to_replace(target: Path, stamp: _Stamp, entry: _Entry | None, song: Path, recipe: Recipe) -> None:
    """Refuse to replace a stem with that of a song unless frametx made it of that song and nobody changed it.

    A whole song's stem is not replaced by a part's either: that is a try, and the whole may have taken an hour.
    """
    if entry is None:
        raise AudioError(
            f"{target} exists already and is not frametx's", "replace it with --overwrite, or choose another folder"
        )
    other = entry.song_elsewhere(song)
    if other is not None and not entry.is_of(song):
        raise AudioError(
            f"{target} is a stem of another song, {other}",
            "choose another folder with -o, tell them apart with --name, or replace it with --overwrite",
        )
    if entry.is_whole and is_of_a_part(recipe.masks):
        raise AudioError(
            f"{target} holds the whole song, and now a part of it is wanted",
            "choose another folder for it with -o, or replace it with --overwrite",
        )
    if entry.stamp != stamp:
        wanted = "other parameters are wanted now" if entry.key != recipe.key else "the song is another now"
        raise AudioError(
            f"{target} was changed since it was written, and {wanted}",
            "replace it with --overwrite, or choose another folder",
        )


def _is_whole(values: Mapping[str, Any]) -> bool:
    """Whether a line of the ledger, or a stem's tag, speaks of a stem of the whole song."""
    return not is_of_a_part(values["parameters"])


def _stamp_of(path: Path) -> _Stamp | None:
    """None when there is nothing, or an empty file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _Stamp(status.st_size, status.st_mtime_ns) if status.st_size else None


def _stamp_dict(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _entry_of_tags(target: Path) -> _Entry | None:
    """A stem's own word on where it comes from."""
    try:
        values = json.loads(read_tags(target).first(TAG) or "")
        return _Entry(None, None, None, str(values["song_sha256"]), str(values["key"]), _is_whole(values))
    except (ValueError, KeyError, TypeError):
        return None
