"""Songs of which the true stems are known: finding them in folders, reading them aligned.

The usual layouts are understood, in any mixture, and the stems may be in any format. What is not sung may be one file, or
several that are added up, as in MUSDB18-HQ and in the results of programs for four or six stems:

    folder/<song>/vocals.wav            folder/<song>_vocals.ogg                folder/<song>/vocals.wav
    folder/<song>/instrumental.wav      folder/<song>_accompaniment.ogg         folder/<song>/drums.wav
    folder/<song> (Vocals).flac         folder/<song>_(Vocals)_<model>.wav      folder/<song>/bass.wav
    folder/<song> (Instrumental).flac   folder/<song>_(No Vocals)_<model>.wav   folder/<song>/other.wav
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from frametx.audio.reader import SongReader
from frametx.audio.resample import Resampler
from frametx.errors import AudioError
from frametx.songs import SUFFIXES, files_below
from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from frametx.song_samples import Samples

VOCALS = ("vocals", "vocal", "voice")
INSTRUMENTAL = ("instrumental", "instruments", "accompaniment", "no_vocals", "karaoke", "backing")
"""Where a song has several, the first counts: karaoke may have backing vocals."""
PARTS = ("drums", "bass", "other", "guitar", "piano")
"""Of an instrumental."""

_ALL_WORDS = (*INSTRUMENTAL, *VOCALS, *PARTS)
_WORDS = "|".join(word.replace("_", "[ _-]?") for word in _ALL_WORDS)
# as little of the song as can be, and nothing of it first: no_vocals ends in vocals
_PLAIN = re.compile(rf"(?:(?P<song>.*?)[ _-]+)??(?P<word>{_WORDS})", re.IGNORECASE)
_BRACKETED = re.compile(rf"(?P<song>.*?)[ _-]*[(\[](?P<word>{_WORDS})[)\]](?:_[^()\[\]]*)?", re.IGNORECASE)


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
        AudioError: There is no such folder, no song in it, or one that has a stem twice.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder} is no folder", "give the folder in which the stems lie")
    songs: dict[str, dict[str, list[Path]]] = {}  # by song and word, in the order of their names
    for path in files_below(folder, suffixes):
        name, word = _song_and_word(path, folder)
        if word:
            songs.setdefault(name, {}).setdefault(word, []).append(path)
    pairs = []
    for name, files in sorted(songs.items()):
        vocals, instrumental = _first(files, VOCALS), _first(files, INSTRUMENTAL)
        parts = tuple(files[part] for part in PARTS if part in files)
        if vocals and (instrumental or parts):
            played = tuple(_only(paths) for paths in ((instrumental,) if instrumental else parts))
            pairs.append(StemPair(name=name, instrumental=played, vocals=_only(vocals)))
    if not pairs:
        layered = any(path.name.endswith(".stem.mp4") for path in files_below(folder, suffixes))
        raise AudioError(
            f"{folder} holds no song with both stems",
            "of .stem.mp4 the first track alone is read: take MUSDB18-HQ, or convert them with musdbconvert"
            if layered
            else "name them <song>_vocals and <song>_instrumental, or <song>/vocals and <song>/instrumental",
        )
    return pairs


def find_instrumentals(folder: Path) -> list[StemPair]:
    """Take every song in a folder, at any depth, for music in which nobody sings.

    Raises:
        AudioError: There is no such folder, or no song in it.
    """
    if not folder.is_dir():
        raise AudioError(f"{folder} is no folder", "give the folder in which the music lies")
    paths = files_below(folder, SUFFIXES)
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
        samples = np.concatenate(list(resampler.stream(reader.blocks())), axis=1)
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


def _song_and_word(path: Path, folder: Path) -> tuple[str, str]:
    """Which song a file belongs to, and the word for what it is of it; empty when its name doesn't say."""
    found = _PLAIN.fullmatch(path.stem) or _BRACKETED.fullmatch(path.stem)
    if found is None:
        return "", ""
    word = re.sub("[ _-]", "", found["word"].lower())
    known = next(one for one in _ALL_WORDS if one.replace("_", "") == word)
    return (path.relative_to(folder).parent / (found["song"] or "")).as_posix(), known


def _first(files: Mapping[str, list[Path]], words: Sequence[str]) -> list[Path]:
    """The files of the first of the words that there are any of."""
    return next((files[word] for word in words if word in files), [])


def _only(paths: Sequence[Path]) -> Path:
    if len(paths) > 1:
        raise AudioError(f"{paths[0]} and {paths[1]} are the same stem of one song", "leave one of them in the folder")
    return paths[0]
