"""What stems are called: templates, characters that a file system refuses, names that are too long."""

from __future__ import annotations

import hashlib
import os
import re
import string
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frametx.audio.tags import Tags, read_tags
from frametx.errors import UsageError
from frametx.paths import absolute_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from frametx.outputs import Stem
    from frametx.songs import SongFile

DEFAULT_NAME = "{track}_{stem}"
FIELDS = ("track", "stem", "model", "dir", "ext", "trackext", "artist", "title", "album", "n")
_TAG_FIELDS = frozenset(("artist", "title", "album", "n"))

_NAME_MAX = 255  # bytes on the usual file systems, UTF-16 units on Windows
_WINDOWS_REFUSES = re.compile(r'[<>:"\\|?*\x00-\x1f]')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³])(\.|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How stems are named.

    A template that makes folders of its own (`{artist}/{title}_{stem}`) takes the place of the song's folders, which
    are mirrored otherwise. Without `{ext}` the format's extension is appended.

    Attributes:
        template: Literal text and the fields `{track}` (the file's name without extension), `{stem}`, `{model}`,
            `{dir}` (the name of the song's folder), `{ext}`, `{trackext}`, and from the tags `{artist}`, `{title}`,
            `{album}` and `{n}` (the track number, two digits).
        model: The value of `{model}`.
        windows: Whether names must suit Windows.

    Raises:
        UsageError: The template has an unknown field or leaves the output folder.
    """

    template: str = DEFAULT_NAME
    model: str = ""
    windows: bool = os.name == "nt"

    def __post_init__(self) -> None:
        """Refuse a template that cannot be meant."""
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise UsageError(
                f"--name '{self.template}' cannot be read: {error}", "write a brace itself as {{ or }}"
            ) from error
        known = " ".join(f"{{{field}}}" for field in FIELDS)
        for _, field, spec, conversion in parts:
            if field is None:
                continue
            if field not in FIELDS:
                raise UsageError(f"--name '{self.template}' has the unknown field {{{field}}}", f"it may have {known}")
            if spec or conversion:
                raise UsageError(
                    f"--name '{self.template}' has a format in the field {{{field}}}", f"write it as {{{field}}} alone"
                )
        if not self.template.strip():
            raise UsageError("--name is empty", f"give a name, such as {DEFAULT_NAME}")
        folders = self.template.replace("\\", "/").split("/") if self.windows else self.template.split("/")
        if folders[0] == "" or ".." in folders or Path(self.template).is_absolute():
            raise UsageError(f"--name '{self.template}' leaves the output folder", "choose that with -o")
        if folders[-1] == "":
            raise UsageError(f"--name '{self.template}' ends with a folder", f"end with a name, such as {DEFAULT_NAME}")

    def targets(self, song: SongFile, output: Path, stems: Iterable[Stem], extension: str) -> dict[Stem, Path]:
        """Where the stems of a song go, below `output`."""
        tags = read_tags(song.path) if self._fields & _TAG_FIELDS else Tags()
        mirrored = not self._folders[:-1]
        folder = output / song.folder if mirrored else output
        return {stem: folder.joinpath(*self._parts(song, stem, extension, tags)) for stem in stems}

    @property
    def _folders(self) -> list[str]:
        return re.split(r"[/\\]" if self.windows else "/", self.template)

    @property
    def _fields(self) -> set[str]:
        return {field for _, field, _, _ in string.Formatter().parse(self.template) if field}

    def _parts(self, song: SongFile, stem: Stem, extension: str, tags: Tags) -> list[str]:
        values = _values(song.path, stem, extension, tags) | {"model": self.model}
        parts = [part for part in self._folders if part not in ("", ".")]
        if "ext" not in self._fields:
            parts[-1] += ".{ext}"
        return [self._fitting(part, values) for part in parts]

    def _fitting(self, part: str, values: Mapping[str, str]) -> str:
        """One component with its fields filled in, legal and short enough; the longest value gives way."""
        values = {field: self._legal(value) for field, value in values.items()}
        name = self._safe(part.format_map(values))
        used = [field for _, field, _, _ in string.Formatter().parse(part) if field and field not in ("stem", "ext")]
        while self._length(name) > _NAME_MAX and used:
            longest = max(used, key=lambda field: self._length(values[field]))
            excess = (self._length(name) - _NAME_MAX) // used.count(longest) + 1
            shorter = self._cut(values[longest], self._length(values[longest]) - excess)
            if shorter == values[longest]:
                break
            values[longest] = shorter
            name = self._safe(part.format_map(values))
        return name

    def _legal(self, value: str) -> str:
        value = value.replace("/", "_").replace("\0", "_")
        return _WINDOWS_REFUSES.sub("_", value) if self.windows else value

    def _safe(self, name: str) -> str:
        """A component that is no special name: not `.` or `..`, no device, nothing that Windows would strip."""
        if self.windows:
            name = _WINDOWS_REFUSES.sub("_", name)
            name = name.rstrip(". ") or "_"
            name = re.sub(_WINDOWS_DEVICES, r"\1_\2", name, count=1) if _WINDOWS_DEVICES.match(name) else name
        return "_" if name.strip(".") == "" else name

    def _length(self, text: str) -> int:
        return len(text.encode("utf-16-le", "surrogatepass")) // 2 if self.windows else len(os.fsencode(text))

    def _cut(self, value: str, length: int) -> str:
        """The beginning of a value and a digest of the whole, so that two long names stay two."""
        digest = "~" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:6]
        kept = value
        while kept and self._length(kept) > max(0, length - len(digest)):
            kept = kept[:-1]
        return kept.rstrip() + digest


def _values(song: Path, stem: Stem, extension: str, tags: Tags) -> dict[str, str]:
    number = re.match(r"\d+", tags.first("tracknumber") or "")
    return {
        "track": song.stem,
        "stem": stem.label,
        "dir": absolute_path(song).parent.name,
        "ext": extension,
        "trackext": song.suffix.removeprefix("."),
        "artist": tags.first("artist") or "Unknown Artist",
        "title": tags.first("title") or song.stem,
        "album": tags.first("album") or "Unknown Album",
        "n": f"{int(number.group()):02}" if number else "00",
    }


def check_collisions(
    planned: Iterable[tuple[Path, Mapping[Stem, Path]]], *, normalise: Callable[[Path], str] | None = None
) -> None:
    """Refuse names before any work: two stems in one file, or a stem in the place of a song.

    Args:
        planned: Every song with its targets.
        normalise: When two paths are one file; by default as this system's file systems usually see it.

    Raises:
        UsageError: With the songs and the path.
    """
    normalise = normalise or _as_the_system_sees
    planned = list(planned)
    songs = {normalise(song): song for song, _ in planned}
    taken: dict[str, Path] = {}
    for song, targets in planned:
        for target in targets.values():
            key = normalise(target)
            if key in songs:
                raise UsageError(
                    f"{target} would replace the song {songs[key]}", "choose another output folder with -o"
                )
            if taken.get(key) == song:
                raise UsageError(f"two stems of {song} would be written to {target}", "let --name hold {stem}")
            if key in taken:
                raise UsageError(
                    f"{taken[key]} and {song} would both be written to {target}",
                    "tell them apart with --name, for example '{track}_{trackext}_{stem}' or '{dir}/{track}_{stem}', "
                    "or separate them into different folders",
                )
            taken[key] = song


def _as_the_system_sees(path: Path) -> str:
    text = str(absolute_path(path))
    return (
        text if os.name == "posix" and os.uname().sysname != "Darwin" else unicodedata.normalize("NFC", text).casefold()
    )
