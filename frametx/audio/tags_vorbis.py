"""Vorbis comments: FLAC, Ogg Vorbis, Opus."""

from __future__ import annotations

import base64
import binascii
import contextlib
import struct
from typing import TYPE_CHECKING, Any

from mutagen.flac import Picture
from mutagen.flac import error as FlacError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PICTURE_FIELD = "metadata_block_picture"


Found = tuple[dict[str, list[str]], list[dict[str, Any]]]


def read(raw: Iterable[tuple[str, str]], blocks: Sequence[Picture]) -> Found:
    """Fields and pictures.

    Args:
        raw: Names and values.
        blocks: FLAC's own picture blocks.
    """
    fields: dict[str, list[str]] = {}
    pictures = list(blocks)
    for name, value in raw:
        if name.lower() == _PICTURE_FIELD:
            with contextlib.suppress(binascii.Error, FlacError, struct.error, ValueError):
                pictures.append(Picture(base64.b64decode(value)))
        elif name.lower() not in ("coverart", "coverartmime"):
            fields.setdefault(name.lower(), []).append(value)
    return fields, [
        {"data": picture.data, "mime": picture.mime, "kind": picture.type, "description": picture.desc}
        for picture in pictures
        if picture.mime != "-->"  # an address, no picture
    ]


def write_fields(raw: Any, fields: Mapping[str, Sequence[str]]) -> None:
    """Set every field; names that Vorbis comments cannot have get their characters replaced."""
    for name, values in fields.items():
        allowed = "".join(letter if " " <= letter <= "}" and letter != "=" else "_" for letter in name)
        raw[allowed.upper()] = list(values)


def flac_picture(data: bytes, mime: str, kind: int, description: str) -> Picture:
    """A picture block."""
    picture = Picture()
    picture.data, picture.mime, picture.type, picture.desc = data, mime, kind, description
    return picture


def write_pictures(raw: Any, pictures: Sequence[tuple[bytes, str, int, str]]) -> None:
    """Pictures as comments, the way of Ogg."""
    if pictures:
        raw[_PICTURE_FIELD] = [base64.b64encode(flac_picture(*picture).write()).decode("ascii") for picture in pictures]
