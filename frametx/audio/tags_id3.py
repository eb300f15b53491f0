"""ID3: MP3, and WAV and AIFF in a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mutagen import id3

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FRAMES = {
    "TIT1": "grouping",
    "TIT2": "title",
    "TIT3": "subtitle",
    "TALB": "album",
    "TPE1": "artist",
    "TPE2": "albumartist",
    "TPE3": "conductor",
    "TPE4": "remixer",
    "TCOM": "composer",
    "TEXT": "lyricist",
    "TPUB": "label",
    "TDRC": "date",
    "TDOR": "originaldate",
    "TCON": "genre",
    "TBPM": "bpm",
    "TKEY": "key",
    "TSRC": "isrc",
    "TCOP": "copyright",
    "TENC": "encodedby",
    "TMOO": "mood",
    "TMED": "media",
    "TLAN": "language",
    "TSST": "discsubtitle",
    "TSOA": "albumsort",
    "TSOP": "artistsort",
    "TSOT": "titlesort",
    "TSO2": "albumartistsort",
    "TSOC": "composersort",
    "TCMP": "compilation",
    "MVNM": "movementname",
}
_NUMBERS = {"TRCK": ("tracknumber", "tracktotal"), "TPOS": ("discnumber", "disctotal")}
# Descriptions of TXXX frames by Picard's conventions
_TEXTS = {
    "MusicBrainz Artist Id": "musicbrainz_artistid",
    "MusicBrainz Album Id": "musicbrainz_albumid",
    "MusicBrainz Album Artist Id": "musicbrainz_albumartistid",
    "MusicBrainz Release Group Id": "musicbrainz_releasegroupid",
    "MusicBrainz Release Track Id": "musicbrainz_releasetrackid",
    "MusicBrainz Work Id": "musicbrainz_workid",
    "MusicBrainz Album Status": "releasestatus",
    "MusicBrainz Album Type": "releasetype",
    "MusicBrainz Album Release Country": "releasecountry",
    "Acoustid Id": "acoustid_id",
}
_MUSICBRAINZ = "http://musicbrainz.org"
# Loudness, tables of places in the file, and the encoder's name: wrong for another file
_DROPPED = {"RVA2", "RVAD", "RGAD", "MLLT", "ASPI", "SEEK", "RBUF", "TLEN", "TSSE", "TDEN", "TSIZ"}
_LOUDNESS_OWNERS = ("PeakValue", "AverageLevel", "WM/WMADRC")
_NAME_OF_TEXT = {description.lower(): name for description, name in _TEXTS.items()}
_FRAME_OF = {name: frame for frame, name in _FRAMES.items()}
_TEXT_OF = {name: description for description, name in _TEXTS.items()}

Fields = dict[str, list[str]]


def read(raw: id3.ID3) -> tuple[Fields, list[dict[str, Any]], list[id3.Frame]]:
    """Fields, pictures, and the frames that are neither."""
    fields: Fields = {}
    pictures: list[dict[str, Any]] = []
    native: list[id3.Frame] = []
    for frame in raw.values():
        if isinstance(frame, id3.APIC):
            if frame.mime != "-->":
                pictures.append(
                    {"data": frame.data, "mime": _mime(frame), "kind": int(frame.type), "description": frame.desc}
                )
        elif not _read_field(frame, fields) and not _is_dropped(frame):
            native.append(frame)
    return fields, pictures, native


def _mime(frame: id3.APIC) -> str:
    mime: str = frame.mime
    return mime if "/" in mime else f"image/{mime.lower().replace('jpg', 'jpeg')}"  # ID3v2.2 says JPG


def _is_dropped(frame: id3.Frame) -> bool:
    return frame.FrameID in _DROPPED or (isinstance(frame, id3.PRIV) and frame.owner.startswith(_LOUDNESS_OWNERS))


def _read_field(frame: id3.Frame, fields: Fields) -> bool:
    """Add a frame to `fields` if it has a name there."""
    if frame.FrameID in _NUMBERS:
        number, _, total = str(frame.text[0]).partition("/")
        for name, value in zip(_NUMBERS[frame.FrameID], (number, total), strict=True):
            if value:
                fields.setdefault(name, []).append(value)
        return True
    name_and_values = _name_and_values(frame)
    if name_and_values is None:
        return False
    name, values = name_and_values
    fields.setdefault(name, []).extend(values)
    return True


def _name_and_values(frame: id3.Frame) -> tuple[str, list[str]] | None:
    """A frame's place in `fields`, None when it has none."""
    if isinstance(frame, id3.TCON):
        return "genre", list(frame.genres)
    if isinstance(frame, id3.USLT):
        return "lyrics", [frame.text]
    if isinstance(frame, id3.UFID):
        return ("musicbrainz_trackid", [frame.data.decode("ascii", "replace")]) if frame.owner == _MUSICBRAINZ else None
    if isinstance(frame, id3.TXXX):
        name = _NAME_OF_TEXT.get(frame.desc.lower(), frame.desc).lower()
    elif isinstance(frame, id3.COMM):
        # iTunes hides Sound Check and others in comments with a name
        name = frame.desc.lower() if frame.desc.lower().startswith("itun") else "comment"
    elif frame.FrameID in _FRAMES:
        name = _FRAMES[frame.FrameID]
    else:
        return None
    return name, [str(text) for text in frame.text]


def write(raw: id3.ID3, fields: Mapping[str, Sequence[str]], native: Iterable[id3.Frame]) -> None:
    """Put the fields into their frames, those without one into TXXX frames, and add `native`."""
    for frame in native:
        raw.add(frame)
    rest = dict(fields)
    for frame_id, (number_name, total_name) in _NUMBERS.items():
        number, total = rest.pop(number_name, ()), rest.pop(total_name, ())
        if number or total:
            text = (number[0] if number else "0") + (f"/{total[0]}" if total and "/" not in "".join(number) else "")
            raw.add(getattr(id3, frame_id)(encoding=id3.Encoding.UTF8, text=[text]))
    for name, values in rest.items():
        for frame in _frames_of(name, list(values)):
            raw.add(frame)


def _frames_of(name: str, values: list[str]) -> list[id3.Frame]:
    utf8 = id3.Encoding.UTF8
    if name in _FRAME_OF:
        return [getattr(id3, _FRAME_OF[name])(encoding=utf8, text=values)]
    if name == "comment":
        return [id3.COMM(encoding=utf8, lang="XXX", desc="", text=values)]
    if name == "lyrics":
        return [id3.USLT(encoding=utf8, lang="XXX", desc="", text="\n\n".join(values))]
    if name == "musicbrainz_trackid":
        return [id3.UFID(owner=_MUSICBRAINZ, data=values[0].encode("ascii", errors="replace"))]
    return [id3.TXXX(encoding=utf8, desc=_TEXT_OF.get(name, name.upper()), text=values)]


def add_picture(raw: id3.ID3, data: bytes, mime: str, kind: int, description: str) -> None:
    """Add a picture; two with the same description would be one."""
    while f"APIC:{description}" in raw:
        description += " "
    raw.add(id3.APIC(encoding=id3.Encoding.UTF8, mime=mime, type=kind, desc=description, data=data))
