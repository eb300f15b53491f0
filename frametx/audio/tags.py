"""Tags and cover art: read from a song, written to its stems.

Every kind of file has its own names; in between they are Vorbis comment names in lower case, as MusicBrainz Picard
writes them, each with a list of values. What has no such name (ID3 frames such as ratings and chapters, MP4 atoms)
travels as it is to files of the same kind.

Loudness (ReplayGain, R128, Sound Check) is never read: it was measured on the song and would be wrong for a stem. Nor
is what describes the file and not the music: encoder delay, seek tables, the encoder's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av.error
import mutagen
import soundfile
from mutagen.apev2 import APEv2
from mutagen.asf import ASFTags
from mutagen.flac import FLAC
from mutagen.id3 import ID3
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4, MP4Tags
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from frametx.audio import tags_id3, tags_mp4, tags_other, tags_vorbis
from frametx.audio.ffmpeg import open_container
from frametx.audio.libsndfile import Nameless
from frametx.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOUDNESS = ("replaygain_", "r128_", "mp3gain_", "itunnorm", "itunes_soundcheck", "wm/wmadrcpeak", "wm/wmadrcaverage")
_ABOUT_THE_FILE = {"itunsmpb", "itunpgap", "encoder", "encoder_options", "encodersettings", "encoder settings"}
_ABOUT_THE_FILE |= {"major_brand", "minor_version", "compatible_brands", "duration", "tlen", "cuesheet", "accuraterip"}
_LARGEST_FLAC_PICTURE = 2**24 - 2**12  # a metadata block's length has 24 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An embedded picture.

    Attributes:
        data: The image file's bytes.
        mime: Its type, such as image/jpeg.
        kind: What it shows by ID3's numbers; 3 is the front cover.
        description: For people; often empty.
    """

    data: bytes
    mime: str
    kind: int = 3
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What a file says about the music in it.

    Attributes:
        fields: Lower-case Vorbis comment names and their values, such as `{"artist": ("A", "B")}`.
        pictures: Cover art.
        native_kind: What `native` is.
        native: What has no name in `fields`, kept for files of the same kind.
    """

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    native_kind: Literal["id3", "mp4"] | None = None
    native: tuple[Any, ...] = ()

    def first(self, name: str) -> str | None:
        """The first value of a field, None when there is none."""
        values = self.fields.get(name.lower(), ())
        return values[0] if values else None

    def for_stem(self, suffix: str | None = None, extra: Mapping[str, str] | None = None) -> Tags:
        """The tags of a stem of this song.

        Args:
            suffix: Appended to the title in brackets, such as `Instrumental`; a song without a title gets none.
            extra: Fields to add or replace, such as where the stem comes from.
        """
        fields = dict(self.fields)
        if suffix and fields.get("title"):
            fields["title"] = tuple(f"{title} ({suffix})" for title in fields["title"])
        fields |= {name.lower(): (value,) for name, value in (extra or {}).items()}
        return replace(self, fields=fields)


def read_tags(path: Path) -> Tags:
    """All tags and pictures of `path`; none when the file has none or they are damaged.

    Tags never stand in the way of a separation, so a file that cannot be read for its tags has none.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            known = mutagen.File(file)
    except (mutagen.MutagenError, OSError, ValueError, KeyError, IndexError):
        known = None
    tags = _from_mutagen(known)
    return tags if tags.fields or tags.pictures else replace(tags, fields=_from_decoders(path))


def _from_mutagen(known: Any) -> Tags:
    raw = getattr(known, "tags", None)
    pictures: list[Picture] = []
    kind: Literal["id3", "mp4"] | None = None
    native: list[Any] = []
    fields: dict[str, list[str]] = {}
    if isinstance(raw, ID3):
        kind = "id3"
        fields, found, native = tags_id3.read(raw)
        pictures = [Picture(**picture) for picture in found]
    elif isinstance(raw, MP4Tags):
        kind = "mp4"
        fields, found, native = tags_mp4.read(raw)
        pictures = [Picture(**picture) for picture in found]
    elif isinstance(raw, APEv2):
        fields, found = tags_other.read_ape(raw)
        pictures = [Picture(**picture) for picture in found]
    elif isinstance(raw, ASFTags):
        fields, found = tags_other.read_asf(raw)
        pictures = [Picture(**picture) for picture in found]
    elif raw is not None:
        fields, found = tags_vorbis.read(raw, getattr(known, "pictures", ()))
        pictures = [Picture(**picture) for picture in found]
    return Tags(fields=_clean(fields), pictures=tuple(pictures), native_kind=kind, native=tuple(native))


def _from_decoders(path: Path) -> dict[str, tuple[str, ...]]:
    """What libsndfile (RIFF INFO, AIFF text) or FFmpeg (Matroska, WebM, AVI) find, which mutagen doesn't read."""
    try:
        with Nameless(path) as nameless, soundfile.SoundFile(nameless, "r") as sound:
            return _clean({name: [value] for name, value in sound.copy_metadata().items() if name != "software"})
    except (soundfile.LibsndfileError, OSError, UnicodeError):
        pass
    try:
        with path.open("rb") as file, open_container(file) as container:
            found: dict[str, str] = dict(container.metadata)
            for stream in container.streams.audio[:1]:
                found = dict(stream.metadata) | found
    except (av.error.FFmpegError, OSError, ValueError):
        return {}
    return _clean({tags_other.FFMPEG_NAMES.get(name.lower(), name): [value] for name, value in found.items()})


def _clean(fields: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Lower-case names without loudness, what describes the file, and empty values."""
    clean: dict[str, tuple[str, ...]] = {}
    for name, values in fields.items():
        lower = name.lower().strip()
        kept = tuple(value.replace("\0", "") for value in values if value.strip("\0 \t\r\n"))
        if kept and lower and not lower.startswith(_LOUDNESS) and lower not in _ABOUT_THE_FILE:
            clean[lower] = clean.get(lower, ()) + kept
    return clean


def write_tags(path: Path, tags: Tags, *, format: str) -> list[str]:  # noqa: A002  (the word of the command line)
    """Put `tags` into a file that has none.

    What a format cannot hold never stands in the way of a stem: it is left out, and said.

    Args:
        path: A complete audio file.
        tags: What to write.
        format: What the file is, a name of a stem's format: its own name may say nothing.

    Returns:
        Notes on what the format could not take.

    Raises:
        AudioError: The file could not be written.
    """
    with path.open("rb") as file:
        is_rf64 = file.read(4) == b"RF64"
    if is_rf64:
        return ["no tags were written: a WAV beyond 4 GiB (RF64) has no place for them"]
    try:
        return _WRITERS[format](path, tags)
    except (mutagen.MutagenError, ValueError, OSError) as error:
        # mutagen wraps the system's errors in its own; all else is about a text or number, before samples are moved
        if not any(isinstance(one, OSError) for one in (error, *error.args)):
            return [f"no tags were written: {format} cannot hold one of them ({error})"]
        raise AudioError(
            f"tags could not be written to {path}: {error}", hint="free some space or choose another output folder"
        ) from error


def _write_flac(path: Path, tags: Tags) -> list[str]:
    audio = FLAC(path)
    if audio.tags is None:
        audio.add_tags()
    tags_vorbis.write_fields(audio.tags, tags.fields)
    fitting = [picture for picture in tags.pictures if len(picture.data) <= _LARGEST_FLAC_PICTURE]
    for picture in fitting:
        audio.add_picture(tags_vorbis.flac_picture(picture.data, picture.mime, picture.kind, picture.description))
    audio.save()
    n_left_out = len(tags.pictures) - len(fitting)
    return [f"{n_left_out} pictures of more than 16 MB were left out: FLAC cannot hold them"] if n_left_out else []


def _write_ogg(path: Path, tags: Tags, kind: type[OggVorbis | OggOpus]) -> list[str]:
    audio = kind(path)
    tags_vorbis.write_fields(audio.tags, tags.fields)
    tags_vorbis.write_pictures(
        audio.tags, [(picture.data, picture.mime, picture.kind, picture.description) for picture in tags.pictures]
    )
    audio.save()
    return []


def _write_id3(path: Path, tags: Tags, kind: type[MP3 | WAVE]) -> list[str]:
    audio = kind(path)
    if audio.tags is None:
        audio.add_tags()
    native = tags.native if tags.native_kind == "id3" else ()
    tags_id3.write(audio.tags, tags.fields, native)
    for picture in tags.pictures:
        tags_id3.add_picture(audio.tags, picture.data, picture.mime, picture.kind, picture.description)
    audio.save()
    return []


def _write_mp4(path: Path, tags: Tags) -> list[str]:
    audio = MP4(path)
    if audio.tags is None:
        audio.add_tags()
    native = tags.native if tags.native_kind == "mp4" else ()
    tags_mp4.write(audio.tags, tags.fields, native)
    n_left_out = tags_mp4.write_pictures(audio.tags, [(picture.data, picture.mime) for picture in tags.pictures])
    audio.save()
    return [f"{n_left_out} pictures were left out: M4A takes JPEG and PNG only"] if n_left_out else []


_WRITERS = {
    "flac": _write_flac,
    "ogg": lambda path, tags: _write_ogg(path, tags, OggVorbis),
    "opus": lambda path, tags: _write_ogg(path, tags, OggOpus),
    "mp3": lambda path, tags: _write_id3(path, tags, MP3),
    "wav": lambda path, tags: _write_id3(path, tags, WAVE),
    "m4a": _write_mp4,
}
