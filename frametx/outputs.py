"""Which stems are written, where, and as what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from frametx.audio.formats import stem_format
from frametx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from frametx.audio.info import AudioInfo, BitDepth


class Stem(StrEnum):
    """What a song is separated into."""

    INSTRUMENTAL = "instrumental"
    VOCALS = "vocals"

    @property
    def label(self) -> str:
        """The word in file names and titles."""
        return self.value.capitalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """How stems are written.

    Attributes:
        stems: Which.
        format: flac, wav, mp3, ogg, opus or m4a.
        bit_depth: 16, 24, "float" or "auto": the song's own, 24 where it has none.
        overwrite: Replace files that are there.
        tags: Carry the song's tags and cover over, and say where the stem comes from.
        title_suffix: Append " (Instrumental)" or " (Vocals)" to the title.
    """

    stems: tuple[Stem, ...] = (Stem.INSTRUMENTAL, Stem.VOCALS)
    format: str = "flac"
    bit_depth: BitDepth | Literal["auto"] = "auto"
    overwrite: bool = False
    tags: bool = True
    title_suffix: bool = True

    def recipe(self) -> dict[str, Any]:
        """What decides the content of a file, for JSON."""
        plain_title = self.tags and not self.title_suffix
        return {
            "format": self.format,
            "bit_depth": self.bit_depth,
            "no_tags": not self.tags,
            "plain_title": plain_title,
        }


def refuse_own_song(song: Path, targets: Iterable[Path]) -> None:
    """Refuse to write a stem over the song, by whatever name or link.

    Raises:
        UsageError: With the path.
    """
    for target in targets:
        if target.exists() and target.samefile(song):
            raise UsageError(f"{target} is the song itself", "choose another output folder with -o")


def bit_depth_for(options: OutputOptions, info: AudioInfo) -> BitDepth:
    """What `auto` means: the song's own depth, 24 bit where it has none (lossy codecs) or the format lacks it."""
    if options.bit_depth != "auto":
        return options.bit_depth
    offered = stem_format(options.format).bit_depths
    return info.bit_depth if info.bit_depth in offered and info.bit_depth is not None else 24
