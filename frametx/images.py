"""Covers: the pictures that lie beside songs, and the one that stands for a song."""

from __future__ import annotations

import shutil
from pathlib import Path

from frametx.audio.tags import read_tags
from frametx.errors import AudioError, reason_of
from frametx.renaming import put_in_place

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"))
_FRONT_COVER = 3  # ID3's number
_COVER_NAMES = ("cover", "folder", "front", "album", "albumart")


def copy_images(song_folder: Path, stem_folder: Path) -> int:
    """Copy the pictures in a song's folder into its stems' folder, those that are there already excepted.

    Returns:
        How many were copied.

    Raises:
        AudioError: One could not be copied.
    """
    n_copied = 0
    for image in _images_in(song_folder):
        target = stem_folder / image.name
        if target.exists():
            continue
        part = stem_folder / f".{image.name}.part"
        try:
            stem_folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, part)
            put_in_place(part, target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise AudioError(
                f"{image} cannot be copied to {stem_folder}: {reason_of(error)}", "free some space"
            ) from error
        n_copied += 1
    return n_copied


def cover_of(song: Path) -> bytes | None:
    """The picture that stands for a song: its embedded front cover, else the folder's; None where there is none."""
    pictures = sorted(read_tags(song).pictures, key=lambda picture: picture.kind != _FRONT_COVER)
    if pictures:
        return pictures[0].data
    images = [image for image in _images_in(song.parent) if image.stem.lower() in _COVER_NAMES]
    images.sort(key=lambda image: _COVER_NAMES.index(image.stem.lower()))
    return images[0].read_bytes() if images else None


def _images_in(folder: Path) -> list[Path]:
    """The pictures in a folder; none where it cannot be looked into, which is said of the song itself."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
