"""Songs of which the true stems are known: finding them in folders, reading them aligned.

The usual layouts are understood, in any mixture, and the stems may be in any format. What is not sung may be one file, or
several that are added up, as in MUSDB18 and in the results of programs for four or six stems:

    folder/<song>/vocals.wav            folder/<song>_vocals.ogg                folder/<song>/vocals.wav
    folder/<song>/instrumental.wav      folder/<song>_accompaniment.ogg         folder/<song>/drums.wav
                                                                                folder/<song>/bass.wav
                                                                                folder/<song>/other.wav
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from frametx.audio.reader import SongReader
from frametx.audio.resample import Resampler
from frametx.errors import AudioError
from frametx.songs import SUFFIXES
from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from frametx.song_samples import Samples

VOCALS = ("vocals", "vocal", "voice")
INSTRUMENTAL = ("instrumental", "instruments", "accompaniment", "no_vocals", "no-vocals", "karaoke", "backing")
PARTS = ("drums", "bass", "other", "guitar", "piano")
"""Of an instrumental."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StemPair:
    """The stems of one song.

    Attributes:
        name: The song.
        instrumental: Files whose sum is what is not sung.
        vocals: File of what is sung; None when nothing is.
    """

    name: str
    instrumental: tuple[Path, ...]
    vocals: Path | None


def find_pairs(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[StemPair]:
    """Find the songs in a folder, at any depth, of which both stems are there; sorted by name.

    Raises:
        AudioError: There is no such folder, or no song in it.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder} is no folder", "give the folder in which the stems lie")
    stems: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            name, kind = _song_and_kind(path, folder)
            if kind:
                stems.setdefault(name, {})[kind] = path
    pairs = [
        StemPair(name=name, instrumental=instrumental, vocals=files["vocals"])
        for name, files in sorted(stems.items())
        if "vocals" in files and (instrumental := _instrumental(files))
    ]
    if not pairs:
        raise AudioError(
            f"{folder} holds no song with both stems",
            "name them <song>_vocals and <song>_instrumental, or <song>/vocals and <song>/instrumental",
        )
    return pairs


def find_instrumentals(folder: Path) -> list[StemPair]:
    """Take every song in a folder, at any depth, for music in which nobody sings.

    Raises:
        AudioError: There is no such folder, or no song in it.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder} is no folder", "give the folder in which the music lies")
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if not paths:
        raise AudioError(f"{folder} holds no songs", "give the folder in which the music lies")
    return [
        StemPair(name=p.relative_to(folder).with_suffix("").as_posix(), instrumental=(p,), vocals=None) for p in paths
    ]


def read_sum(paths: Sequence[Path]) -> Samples:
    """Read whole files as stereo at 44.1 kHz, `[2 n]`, and add them up; one that ends early is silent from there on.

    Raises:
        AudioError: One cannot be read.
    """
    songs = [_read_samples(path) for path in paths]
    n_samples = max(song.shape[1] for song in songs)
    total: Samples = np.sum([fitted(song, n_samples) for song in songs], axis=0) if len(songs) > 1 else songs[0]
    return total


def fitted(samples: Samples, n_samples: int) -> Samples:
    """Samples `[c n]` cut, or extended by silence, to a length."""
    return np.pad(samples[:, :n_samples], ((0, 0), (0, max(0, n_samples - samples.shape[1]))))


def _read_samples(path: Path) -> Samples:
    with SongReader(path) as reader:
        resampler = Resampler(reader.sample_rate, SAMPLE_RATE, reader.channels)
        parts = [resampler.process(block) for block in reader.blocks()]
        parts.append(resampler.process(np.zeros((reader.channels, 0), np.float32), last=True))
    samples = np.concatenate(parts, axis=1)
    return samples if samples.shape[0] == 2 else samples.repeat(2, axis=0)


def read_pair(pair: StemPair) -> tuple[Samples, Samples]:
    """Read instrumental and vocals `[2 n]`; a stem that ends early is silent from there on.

    Raises:
        AudioError: One cannot be read.
    """
    instrumental = read_sum(pair.instrumental)
    if pair.vocals is None:
        return instrumental, np.zeros_like(instrumental)
    vocals = _read_samples(pair.vocals)
    n_samples = max(instrumental.shape[1], vocals.shape[1])
    return fitted(instrumental, n_samples), fitted(vocals, n_samples)


def _instrumental(files: Mapping[str, Path]) -> tuple[Path, ...]:
    if "instrumental" in files:
        return (files["instrumental"],)
    return tuple(files[part] for part in PARTS if part in files)


def _song_and_kind(path: Path, folder: Path) -> tuple[str, str]:
    """Which song a file belongs to and as what, a part by its name; the kind is empty when the file's name says nothing."""
    parent = path.relative_to(folder).parent
    # instrumental first and long words first: no_vocals ends in vocals
    kinds = [(word, kind) for kind, words in (("instrumental", INSTRUMENTAL), ("vocals", VOCALS)) for word in words]
    kinds += [(part, part) for part in PARTS]
    for word, kind in kinds:
        if path.stem.lower() == word:
            return parent.as_posix(), kind
        if path.stem.lower().endswith((f"_{word}", f"-{word}", f" {word}")):
            return (parent / path.stem[: -len(word) - 1]).as_posix(), kind
    return "", ""
