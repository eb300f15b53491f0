"""Recordings as memory maps: decoded once, then read anywhere at no cost.

A `.npy` of int16, `[samples, channels]` at 44.1 kHz, is used as it is; everything else is decoded into the cache, under a
name made of its path, size and time, so that a changed file is decoded again.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soxr

from frametx.errors import TrainingError, reason_of
from frametx.pairs import find_pairs, read_sum
from frametx.renaming import put_in_place
from frametx.songs import SUFFIXES, files_below
from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from frametx.song_samples import Samples
    from frametx.training.config import Source

FULL_SCALE = 32768
READABLE = SUFFIXES | {".npy"}
HEARD = 150 / FULL_SCALE  # mean amplitude above which a crop of vocals is not silence
TRIES = 6
NAME_BYTES = 100  # of a decoded copy's name, which gets more behind it


@dataclass(frozen=True, slots=True)
class Recording:
    """A file on disk as int16 samples `[n c]`, mapped on first use in each process."""

    path: Path
    n_samples: int
    dry: bool = False

    def crop(self, start: int, n_samples: int, ratio: float = 1.0) -> Samples:
        """Read stereo samples `[2 n]`, played at `ratio` times the speed; zeros stand past the end."""
        n_read = _n_read(n_samples, ratio)
        samples = np.load(self.path, mmap_mode="r")[start : start + n_read].astype(np.float32) / FULL_SCALE
        if ratio != 1.0:
            samples = soxr.resample(samples, SAMPLE_RATE * ratio, SAMPLE_RATE, quality="LQ")
        if samples.shape[1] == 1:
            samples = samples.repeat(2, axis=1)
        missing = n_samples - len(samples)
        if missing > 0:
            samples = np.pad(samples, ((0, missing), (0, 0)))
        return np.ascontiguousarray(samples[:n_samples, :2].T)


@dataclass(frozen=True, slots=True)
class Pool:
    """Recordings to draw from; long ones more often, but less than in proportion."""

    recordings: tuple[Recording, ...]
    shares: NDArray[np.float64]

    def draw(
        self, rng: np.random.Generator, n_samples: int, ratio: float = 1.0, *, heard: bool = False
    ) -> tuple[Samples, Recording]:
        """Draw a crop `[2 n]`; with `heard`, one that is not silent, if a few tries find one."""
        n_read = _n_read(n_samples, ratio)
        for _ in range(TRIES):
            recording = self.recordings[int(rng.choice(len(self.recordings), p=self.shares))]
            start = int(rng.integers(0, max(1, recording.n_samples - n_read)))
            crop = recording.crop(start, n_samples, ratio)
            if not heard or float(np.abs(crop[:, ::64]).mean()) > HEARD:
                break
        return crop, recording


@dataclass(frozen=True, slots=True)
class PairPool:
    """Instrumentals and the vocals that belong to them, and how often each pair is drawn."""

    pairs: tuple[tuple[Recording, Recording], ...]
    shares: NDArray[np.float64]

    def draw(self, rng: np.random.Generator, n_samples: int, ratio: float = 1.0) -> tuple[Samples, Samples]:
        """Draw aligned crops `[2 n]` with vocals to hear, if a few tries find any."""
        n_read = _n_read(n_samples, ratio)
        for _ in range(TRIES):
            instrumental, vocals = self.pairs[int(rng.choice(len(self.pairs), p=self.shares))]
            shorter = min(instrumental.n_samples, vocals.n_samples)
            start = int(rng.integers(0, max(1, shorter - n_read)))
            sung = vocals.crop(start, n_samples, ratio)
            if float(np.abs(sung[:, ::64]).mean()) > HEARD:
                break
        return instrumental.crop(start, n_samples, ratio), sung


def _n_read(n_samples: int, ratio: float) -> int:
    """Samples to read for `n_samples` at `ratio` times the speed, with a few more for the resampler to end on."""
    return int(np.ceil(n_samples * ratio)) + 8


def open_pool(sources: Sequence[Source], cache: Path, least: int, on_file: Callable[[Path], None]) -> Pool:
    """Open folders of recordings, decoding what is not decoded yet.

    Args:
        sources: The folders.
        cache: Where decoded copies go.
        least: Samples a recording must have.
        on_file: Told before a file is decoded.

    Raises:
        TrainingError: A folder is missing or empty, or a file is too short.
        AudioError: A file cannot be read.
    """
    found: list[Recording] = []
    weights: list[float] = []
    for source in sources:
        paths = _files(source.folder, cache)
        mine = [_opened((path,), cache, least, on_file, dry=source.dry) for path in paths]
        roots = np.sqrt([recording.n_samples for recording in mine])
        found += mine
        weights += list(source.weight * roots / roots.sum())
    return Pool(tuple(found), _shares(weights))


def open_pairs(sources: Sequence[Source], cache: Path, least: int, on_file: Callable[[Path], None]) -> PairPool:
    """Open folders of paired stems; see `open_pool`."""
    opened = []
    weights: list[float] = []
    for source in sources:
        pairs = find_pairs(source.folder, frozenset(READABLE))
        for pair in pairs:
            assert pair.vocals is not None  # find_pairs returns whole pairs
            instrumental, vocals = (
                _opened(paths, cache, least, on_file) for paths in (pair.instrumental, (pair.vocals,))
            )
            opened.append((instrumental, vocals))
        weights += [source.weight / len(pairs)] * len(pairs)
    return PairPool(tuple(opened), _shares(weights))


def _shares(weights: list[float]) -> NDArray[np.float64]:
    total = sum(weights)
    if total <= 0:
        raise TrainingError("the weights of the folders sum to nothing", "give one of them a weight above 0")
    return np.asarray(weights) / total


def _files(folder: Path, cache: Path) -> list[Path]:
    """The recordings in a folder; what lies in the cache, if that is deeper in it, is none but a copy of one."""
    if not folder.is_dir():
        raise TrainingError(f"{folder} is no folder", "correct the path in the config; it is relative to the config")
    copies = cache.resolve()
    paths = files_below(folder, READABLE)
    if folder.resolve() in copies.parents:
        paths = [path for path in paths if copies not in path.resolve().parents]
    if not paths:
        raise TrainingError(
            f"{folder} holds no recordings", f"put audio files there ({', '.join(sorted(READABLE)[:6])} ...)"
        )
    return paths


def _opened(
    paths: tuple[Path, ...], cache: Path, least: int, on_file: Callable[[Path], None], *, dry: bool = False
) -> Recording:
    """Open a recording, or the sum of several."""
    path = paths[0]
    if len(paths) == 1 and path.suffix.lower() == ".npy":
        stored = path
        try:
            samples = np.load(stored, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path} is no array: {error}", "take it out of the folder") from error
    else:
        stored = _decoded(paths, cache, on_file)
        samples = np.load(stored, mmap_mode="r")
    if samples.dtype != np.int16 or samples.ndim != 2 or samples.shape[1] not in (1, 2):
        raise TrainingError(
            f"{path} holds {samples.dtype} {samples.shape}", "arrays are int16 [samples, 1 or 2 channels]"
        )
    if len(samples) < least:
        raise TrainingError(
            f"{path} is too short: {len(samples) / SAMPLE_RATE:.1f} s, a crop is {least / SAMPLE_RATE:.1f} s",
            "join short recordings, take them out, or choose fewer frames",
        )
    return Recording(stored, len(samples), dry)


def _decoded(paths: tuple[Path, ...], cache: Path, on_file: Callable[[Path], None]) -> Path:
    facts = [(path.resolve(), path.stat()) for path in paths]
    known = "|".join(f"{path}|{status.st_size}|{status.st_mtime_ns}" for path, status in facts)
    key = hashlib.sha256(known.encode()).hexdigest()[:16]
    path = paths[0]
    stem = path.stem.encode()[:NAME_BYTES].decode(errors="ignore")
    target = cache / f"{stem}-{key}.npy"
    if _is_whole(target):
        return target
    on_file(path)
    samples = read_sum(paths)
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, np.clip(np.round(samples.T * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16))
        put_in_place(part, target)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be decoded into {cache}: {reason_of(error)}",
            "make room (10 MB a minute of stereo), or name another folder as data.cache",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return target


def _is_whole(stored: Path) -> bool:
    """Whether a decoded copy is there and can be mapped; a disk that was full may have cut it."""
    try:
        np.load(stored, mmap_mode="r")
    except (OSError, ValueError):
        return False
    return True
