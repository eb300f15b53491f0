"""Tags that are only read: APEv2 (WavPack, Musepack, Monkey's Audio), ASF (WMA), and FFmpeg's names for the rest."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from mutagen.apev2 import APEBinaryValue
from mutagen.asf import ASFByteArrayAttribute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mutagen.apev2 import APEv2

Found = tuple[dict[str, list[str]], list[dict[str, Any]]]

_APE_NAMES = {"year": "date", "album artist": "albumartist", "media": "media", "unsyncedlyrics": "lyrics"}
_ASF_NAMES = {
    "author": "artist",
    "wm/albumtitle": "album",
    "wm/albumartist": "albumartist",
    "wm/year": "date",
    "wm/genre": "genre",
    "wm/composer": "composer",
    "wm/tracknumber": "tracknumber",
    "wm/partofset": "discnumber",
    "wm/publisher": "label",
    "wm/lyrics": "lyrics",
    "wm/isrc": "isrc",
    "wm/beatsperminute": "bpm",
    "wm/conductor": "conductor",
    "description": "comment",
}
FFMPEG_NAMES = {"album_artist": "albumartist", "track": "tracknumber", "disc": "discnumber", "date_released": "date"}
_NUMBERS = {"track": ("tracknumber", "tracktotal"), "disc": ("discnumber", "disctotal")}


def read_ape(raw: APEv2) -> Found:
    """Fields and pictures of an APEv2 tag."""
    fields: dict[str, list[str]] = {}
    pictures: list[dict[str, Any]] = []
    for name, value in raw.items():
        lower = name.lower()
        if isinstance(value, APEBinaryValue):
            if lower.startswith("cover art"):
                _, _, data = bytes(value).partition(b"\0")  # a file name, then the picture
                mime = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
                pictures.append({"data": data, "mime": mime, "kind": 4 if "back" in lower else 3})
        elif lower in _NUMBERS:
            for number_name, number in zip(_NUMBERS[lower], str(value).split("/"), strict=False):
                fields[number_name] = [number]
        else:
            fields.setdefault(_APE_NAMES.get(lower, lower), []).extend(str(value).split("\0"))
    return fields, pictures


def read_asf(raw: Iterable[tuple[str, Any]]) -> Found:
    """Fields and pictures of WMA's attributes, given as names and values."""
    fields: dict[str, list[str]] = {}
    pictures: list[dict[str, Any]] = []
    for name, value in raw:
        lower = name.lower()
        if lower == "wm/picture":
            picture = _asf_picture(value.value)
            if picture is not None:
                pictures.append(picture)
        elif not isinstance(value, ASFByteArrayAttribute):
            fields.setdefault(_ASF_NAMES.get(lower, lower), []).append(str(value))
    return fields, pictures


def _asf_picture(packed: bytes) -> dict[str, Any] | None:
    """Type (1 byte), size (4), MIME type and description as UTF-16 with a zero behind each, the picture."""
    if len(packed) < 9:
        return None
    kind, size = struct.unpack_from("<BI", packed)
    texts, at = [], 5
    for _ in range(2):
        end = at
        while packed[end : end + 2] not in (b"\0\0", b""):
            end += 2
        texts.append(packed[at:end].decode("utf-16-le", errors="replace"))
        at = end + 2
    return {"data": packed[at : at + size], "mime": texts[0], "kind": kind, "description": texts[1]}
