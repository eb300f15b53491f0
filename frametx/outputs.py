"""Which stems are written, where, and as what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TYPE_CHECKING

from frametx.audio.encoders import stem_format
from frametx.errors import AudioError, UsageError

if TYPE_CHECKING:
    from frametx.audio.info import AudioInfo, BitDepth
    from pathlib import Path
    from collections.abc import Mapping


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
    """

    stems: tuple[Stem, ...] = (Stem.INSTRUMENTAL, Stem.VOCALS)
    format: str = "flac"
    bit_depth: BitDepth | Literal["auto"] = "auto"
    overwrite: bool = False


def stem_paths(song: Path, folder: Path, options: OutputOptions) -> dict[Stem, Path]:
    """The default names, `<track>_Instrumental.<ext>` and `<track>_Vocals.<ext>`, in `folder`, which is made if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(
            f"the output folder {folder} cannot be made: {error.strerror}", "choose another with -o"
        ) from error
    return {stem: folder / f"{song.stem}_{stem.label}.{options.format}" for stem in options.stems}


def check_targets(song: Path, targets: Mapping[Stem, Path]) -> None:
    """Refuse to write a stem over the song or two stems into one file.

    Raises:
        UsageError: With the path.
    """
    for target in targets.values():
        if target.exists() and target.samefile(song):
            raise UsageError(f"{target} is the song itself", "choose another output folder with -o")
    if len({target.absolute() for target in targets.values()}) < len(targets):
        raise UsageError(f"two stems would be written to {next(iter(targets.values()))}", "let the name hold {stem}")


def bit_depth_for(options: OutputOptions, info: AudioInfo) -> BitDepth:
    """What `auto` means: the song's own depth, 24 bit where it has none (lossy codecs) or the format lacks it."""
    if options.bit_depth != "auto":
        return options.bit_depth
    offered = stem_format(options.format).bit_depths
    return info.bit_depth if info.bit_depth in offered and info.bit_depth is not None else 24
