"""MP4 atoms: M4A and MP4."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mutagen.mp4 import AtomDataType, MP4Cover, MP4FreeForm, MP4Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_ATOMS = {
    "\xa9nam": "title",
    "\xa9ART": "artist",
    "\xa9alb": "album",
    "aART": "albumartist",
    "\xa9day": "date",
    "\xa9gen": "genre",
    "\xa9wrt": "composer",
    "\xa9cmt": "comment",
    "\xa9lyr": "lyrics",
    "\xa9grp": "grouping",
    "\xa9wrk": "work",
    "\xa9mvn": "movementname",
    "cprt": "copyright",
    "desc": "description",
    "soal": "albumsort",
    "soar": "artistsort",
    "soaa": "albumartistsort",
    "sonm": "titlesort",
    "soco": "composersort",
}
_NUMBERS = {"trkn": ("tracknumber", "tracktotal"), "disk": ("discnumber", "disctotal")}
_FREE = "----:com.apple.iTunes:"
# Freeform names by Picard's conventions
_FREE_NAMES = {
    "MusicBrainz Track Id": "musicbrainz_trackid",
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
    "initialkey": "key",
}
_SIMPLE: dict[str, tuple[str, Callable[[Any], list[str]]]] = {
    "tmpo": ("bpm", lambda value: [str(value[0])]),
    "cpil": ("compilation", lambda value: ["1"] if value else []),
}
_DROPPED = {"\xa9too", "pgap"}
_MIMES = {MP4Cover.FORMAT_JPEG: "image/jpeg", MP4Cover.FORMAT_PNG: "image/png"}
_NAME_OF_FREE = {free.lower(): name for free, name in _FREE_NAMES.items()}
_ATOM_OF = {name: atom for atom, name in _ATOMS.items()}
_FREE_OF = {name: free for free, name in _FREE_NAMES.items()}


def read(raw: MP4Tags) -> tuple[dict[str, list[str]], list[dict[str, Any]], list[tuple[str, Any]]]:
    """Fields, pictures, and the atoms that are neither, with their names."""
    fields: dict[str, list[str]] = {}
    pictures: list[dict[str, Any]] = []
    native: list[tuple[str, Any]] = []
    for atom, value in raw.items():
        if atom == "covr":
            pictures += [{"data": bytes(cover), "mime": _MIMES.get(cover.imageformat, "image/jpeg")} for cover in value]
        elif atom in _NUMBERS:
            numbers = zip(_NUMBERS[atom], value[0], strict=False)
            fields |= {name: [str(number)] for name, number in numbers if number}
        elif atom in _ATOMS:
            fields.setdefault(_ATOMS[atom], []).extend(value)
        elif atom in _SIMPLE:
            name, as_text = _SIMPLE[atom]
            fields[name] = as_text(value)
        elif atom.startswith(_FREE):
            free = _from_key(atom.removeprefix(_FREE)).lower()
            fields.setdefault(_NAME_OF_FREE.get(free, free), []).extend(_texts(value))
        elif atom not in _DROPPED:
            native.append((atom, value))
    return fields, pictures, native


def _texts(values: Iterable[bytes]) -> list[str]:
    return [bytes(value).decode("utf-8", errors="replace") for value in values]


def write(raw: MP4Tags, fields: Mapping[str, Sequence[str]], native: Iterable[tuple[str, Any]]) -> None:
    """Put the fields into their atoms, those without one into freeform atoms, and add `native`."""
    for atom, value in native:
        raw[atom] = value
    rest = {name: list(values) for name, values in fields.items()}
    for atom, (number_name, total_name) in _NUMBERS.items():
        number, total = _number(rest.get(number_name)), _number(rest.get(total_name))
        if number is not None or total is not None:
            raw[atom] = [(number or 0, total or 0)]
            rest.pop(number_name, None)
            rest.pop(total_name, None)
    bpm = _number(rest.get("bpm"))
    if bpm is not None:
        raw["tmpo"] = [bpm]
        del rest["bpm"]
    if "compilation" in rest:
        raw["cpil"] = rest.pop("compilation")[0] not in ("0", "")
    for name, values in rest.items():
        if name in _ATOM_OF:
            raw[_ATOM_OF[name]] = values
        else:
            texts = [MP4FreeForm(value.encode(), AtomDataType.UTF8) for value in values]
            raw[_FREE + _to_key(_FREE_OF.get(name, name.upper()))] = texts


def _to_key(name: str) -> str:
    """A freeform name as mutagen takes it: a letter for each byte, where players expect UTF-8."""
    return name.encode().decode("latin-1")


def _from_key(key: str) -> str:
    """The reverse, where the bytes are UTF-8; else they are meant as Latin-1."""
    try:
        return key.encode("latin-1").decode()
    except UnicodeDecodeError:
        return key


def _number(values: Sequence[str] | None) -> int | None:
    """What an atom of 16 bits can hold; anything else stays text."""
    if values:
        with contextlib.suppress(ValueError):
            number = int(values[0].partition("/")[0])
            return number if 0 <= number < 2**15 else None
    return None


def write_pictures(raw: MP4Tags, pictures: Sequence[tuple[bytes, str]]) -> int:
    """Add data and type of each picture; returns how many are of types that the atom doesn't have."""
    kinds = {"image/jpeg": MP4Cover.FORMAT_JPEG, "image/jpg": MP4Cover.FORMAT_JPEG, "image/png": MP4Cover.FORMAT_PNG}
    covers = [MP4Cover(data, kinds[mime.lower()]) for data, mime in pictures if mime.lower() in kinds]
    if covers:
        raw["covr"] = covers
    return len(pictures) - len(covers)
