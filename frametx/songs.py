"""Which files are songs: what a person named, what lies in folders, what a list names."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from frametx.errors import AudioError, UsageError, reason_of
from frametx.paths import absolute_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

SUFFIXES = frozenset(
    (
        *(".aac", ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp3", ".oga", ".ogg"),
        *(".opus", ".w64", ".wav", ".wma", ".mkv", ".mov", ".mp4", ".webm"),
    )
)
"""What is taken for a song in a folder; a file named by itself may be called anything."""

_PLAYLISTS = (".m3u", ".m3u8")

_WORK_FOLDER = ".frametx"  # of <track>.frametx, which belongs to the edit list <track>.frametx.toml beside it

_QUOTED = re.compile(r'^\s*"([^"]+)"\s*$')

CODE_PAGES = ("mbcs", "oem") if os.name == "nt" else ()
"""What lists are written in that are no Unicode: by programs with windows, and by `dir`."""

_WINDOWS_HIDDEN = 0x2  # FILE_ATTRIBUTE_HIDDEN
_WINDOWS_NO_NAME = 123  # ERROR_INVALID_NAME: *.flac, where no song made the command line put names in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class SongFile:
    """A song and where it stands.

    Attributes:
        path: The file, as it was named.
        folder: The folders between the named folder and the song; its stems go into the same below the output.
    """

    path: Path
    folder: PurePath = field(default_factory=PurePath)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something in a folder that could have been a song and was passed over."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What inputs stand for, in an order that depends on names alone."""

    songs: tuple[SongFile, ...]
    skipped: tuple[Skipped, ...] = ()


def refuse_missing(inputs: Sequence[Path]) -> None:
    """Refuse inputs of which not one is there: before a model is fetched for them, say.

    One among others that are there fails alone, when its turn comes.

    Raises:
        AudioError: With the first.
    """
    if inputs and all(_is_missing(path) for path in inputs):
        others = ", nor does anything else that was named" if len(inputs) > 1 else ""
        raise AudioError(f"{inputs[0]} does not exist{others}", _way_to_a_song(str(inputs[0])))


def refuse_playlists(inputs: Sequence[Path]) -> None:
    """Refuse playlists among songs: what they name is read from a list.

    Raises:
        UsageError: With the first.
    """
    for path in inputs:
        if path.suffix.lower() in _PLAYLISTS and path.is_file():
            raise UsageError(
                f"{path} is a playlist, not a song", f"frametx separate --from-file {shlex.quote(str(path))}"
            )


def find_songs(
    inputs: Iterable[Path],
    *,
    recursive: bool = False,
    leave_out: Path | None = None,
    products_in: Callable[[Path], Collection[Path]] = lambda _: (),
) -> Listing:
    """List the songs that inputs stand for: files as named, folders as the songs in them, sorted by name.

    Files that a person names are taken as they are, even if they don't exist: what is wrong with them is said when
    they are separated. In folders only names with an audio suffix count; hidden and unreadable ones are passed over.
    What earlier runs made is no song there. A folder is entered once, however many links lead to it, and a file is
    listed once.

    Args:
        inputs: Files and folders.
        recursive: Enter folders in folders.
        leave_out: A folder that is never entered from another: the output.
        products_in: What earlier runs with this folder as their output made, as absolute paths.

    Raises:
        AudioError: Not one song is there.
    """
    walk = _Walk(recursive=recursive, leave_out=leave_out, products_in=products_in)
    songs: dict[Path, SongFile] = {}
    inputs = list(inputs)
    for path in inputs:
        # a name too long for any file is no folder; Path.is_dir() would raise
        found = walk.folder(path, PurePath()) if os.path.isdir(path) else iter([SongFile(path=path)])  # noqa: PTH112
        for song in found:
            songs.setdefault(absolute_path(song.path), song)
    if not songs:
        raise _nothing_found(inputs, walk, recursive=recursive)
    return Listing(songs=tuple(songs.values()), skipped=tuple(walk.skipped))


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files with these suffixes at any depth, sorted; hidden ones, and those in hidden folders, are passed over.

    A link to nothing is among them: that it cannot be read shall be said.
    """
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    ]


def read_list(data: bytes, folder: Path) -> list[Path]:
    """The inputs that a list or playlist (M3U) names: one a line; empty lines and lines that begin with # don't count.

    Paths may stand in double quotes, as Windows copies them, or as the file:// addresses that some players write.

    Args:
        data: The list: UTF-8, UTF-16 with a byte order mark (as PowerShell writes it), or names in bytes that are no
            text to anybody; on Windows also one of its code pages, line by line whichever names something.
        folder: What relative paths are relative to.

    Raises:
        UsageError: The list names nothing, or is no text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    if b"\0" in data:  # which no name holds
        raise UsageError(
            "the list of songs is no text", "write one path a line; a song itself goes without --from-file"
        )
    lines = [line for line in data.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]
    paths = [_named(line, folder) for line in lines if not line.startswith(b"#")]
    if not paths:
        raise UsageError("the list of songs is empty", "write one path a line")
    return paths


def _named(line: bytes, folder: Path) -> Path:
    """What a line names: the first reading of it that is there, or else the most probable."""
    texts: list[str] = []
    for encoding in ("utf-8", *CODE_PAGES):
        with contextlib.suppress(UnicodeDecodeError):
            texts.append(line.decode(encoding))
    texts = texts or [line.decode("utf-8", "surrogateescape")]  # names are bytes to most systems
    readings: list[str] = [reading for text in texts for reading in (_file_named(text), *_QUOTED.findall(text))]
    paths = [folder / reading for reading in readings]
    return next((path for path in paths if not _is_missing(path)), paths[0])


class _Walk:
    """A walk through folders that remembers where it has been."""

    def __init__(
        self, *, recursive: bool, leave_out: Path | None, products_in: Callable[[Path], Collection[Path]]
    ) -> None:
        self._recursive = recursive
        self._leave_out = _identity(leave_out)
        self._products_in = products_in
        self._products = set() if leave_out is None else set(products_in(leave_out))
        self._entered: set[tuple[int, int | str] | None] = set()
        self.skipped: list[Skipped] = []
        self.n_products = 0

    def folder(self, path: Path, below: PurePath) -> Iterator[SongFile]:
        """The songs of a folder, then those of its folders."""
        identity = _identity(path)
        if identity in self._entered:  # a link back, or a second link to a folder
            return
        self._entered.add(identity)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: (entry.name.casefold(), entry.name))
        except OSError as error:
            self._skip(path, f"the folder cannot be read: {reason_of(error)}")
            return
        self._products.update(self._products_in(path))
        names = {entry.name for entry in entries}
        folders = []
        for entry in entries:
            if _is_folder(entry):
                if not (entry.name.endswith(_WORK_FOLDER) and f"{entry.name}.toml" in names):
                    folders.append(entry)
            elif self._is_song(entry):
                yield SongFile(path=path / entry.name, folder=below)
        for entry in folders if self._recursive else ():
            inner = path / entry.name
            if _is_hidden(entry):
                self._skip(inner, "a hidden folder")
            elif _identity(inner) != self._leave_out:
                yield from self.folder(inner, below / entry.name)

    def _is_song(self, entry: os.DirEntry[str]) -> bool:
        path = Path(entry.path)
        if path.suffix.lower() not in SUFFIXES:
            return False
        if absolute_path(path) in self._products:
            self.n_products += 1
            return False
        reason = _why_not(entry)
        if reason:
            self._skip(path, reason)
        return not reason

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append(Skipped(path=path, reason=reason))


def _why_not(entry: os.DirEntry[str]) -> str:
    """Why an entry with an audio suffix is no song; empty when it is one."""
    if _is_hidden(entry):
        return "hidden"
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return "a link to nothing" if entry.is_symlink() else f"cannot be read: {reason_of(error)}"
    if not stat.S_ISREG(mode):
        return "no regular file"
    return "" if os.access(entry.path, os.R_OK) else "may not be read"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return True
    if os.name != "nt":
        return False
    attributes: int = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & _WINDOWS_HIDDEN)


def _file_named(line: str) -> str:
    """What a line of a list names: a path as it is, or the path of a file:// address."""
    return url2pathname(urlsplit(line.strip()).path) if line.strip().lower().startswith("file://") else line


def _way_to_a_song(name: str) -> str:
    """What a person probably meant by the name of a file that does not exist."""
    in_quotes = len(name) > 2 and name[0] == name[-1] and name[0] in "'\""
    ways = {
        "frametx does not fetch songs: download it first, and name the file": re.match(r"(?i)https?:", name),
        "name the file by its path, without file://": re.match(r"(?i)file:", name),
        f"the quotes became a part of the name: type {shlex.quote(name[1:-1])}": in_quotes,
        "leave out the backslash before the closing quote, which makes the quote a part of the name": (
            os.name == "nt" and name.endswith('"')  # no name ends so there
        ),
        "a ~ in quotes is not your home folder: leave it outside of them": name.startswith("~"),
        "no file is called like that: name one, or a folder for all the songs in it": re.search(r"[*?]", name),
    }
    return next((way for way, applies in ways.items() if applies), "check the spelling, and quote names with spaces")


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, ValueError):  # or a name that no file can have
        return True
    except OSError as error:  # there is something, and what is wrong with it will be said
        return getattr(error, "winerror", None) == _WINDOWS_NO_NAME
    return False


def _identity(path: Path | None) -> tuple[int, int | str] | None:
    """What stays the same whatever name a file is reached by; None when there is none."""
    try:
        status = None if path is None else path.stat()
    except OSError:
        return None
    if path is None or status is None:
        return None
    return status.st_dev, status.st_ino or os.path.realpath(path)  # some network drives of Windows number nothing


def _nothing_found(inputs: Sequence[Path], walk: _Walk, *, recursive: bool) -> AudioError:
    skipped = walk.skipped
    what = f"the folder {inputs[0]} holds" if len(inputs) == 1 else f"the {len(inputs)} folders hold"
    if walk.n_products:
        return AudioError(f"{what} no songs, but {walk.n_products} files that frametx made", "name those that you want")
    passed = f" ({len(skipped)} passed over; the first: {skipped[0].path}, {skipped[0].reason})" if skipped else ""
    hint = (
        "name files, or another folder"
        if recursive
        else "add --recursive to look into the folders in it, or name files"
    )
    return AudioError(f"{what} no songs{passed}", hint)
