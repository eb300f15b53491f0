"""How much room stems take, and whether it is there before work begins."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from frametx.audio.formats import stem_format
from frametx.errors import AudioError

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.outputs import OutputOptions

RESERVE_BYTES = 64 * 2**20
"""What is left to everything else on the disk."""

_LOSSY_BYTES_PER_SECOND = 320_000 // 8
_FLAC_SHARE = 0.8  # of the samples; dense music needs about 0.7
_SUFFIX_BYTES_PER_SECOND = {".wav": 176_400, ".aif": 176_400, ".aiff": 176_400, ".w64": 176_400, ".flac": 110_000}


def stems_bytes(
    options: OutputOptions, *, seconds: float, sample_rate: int = 44_100, channels: int = 2, bytes_per_sample: int = 3
) -> int:
    """About how many bytes the stems of a song take, rather too many than too few."""
    form = stem_format(options.format)
    if not form.bit_depths:
        per_second = float(_LOSSY_BYTES_PER_SECOND)
    else:
        per_second = sample_rate * channels * bytes_per_sample * (_FLAC_SHARE if form.name == "flac" else 1.0)
    return int(seconds * per_second) * len(options.stems)


def guess_seconds(song: Path, size_bytes: int) -> float:
    """About how long a song is, by its size alone, without opening it."""
    return size_bytes / _SUFFIX_BYTES_PER_SECOND.get(song.suffix.lower(), 28_000)


def free_bytes(folder: Path) -> int | None:
    """Free space where `folder` is or will be; None where the system doesn't say."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check_room(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what will not fit.

    Raises:
        AudioError: With what is needed and what is there.
    """
    free = free_bytes(folder)
    if free is not None and free < needed_bytes + RESERVE_BYTES:
        raise AudioError(
            f"the stems need about {_mebibytes(needed_bytes)}, {_mebibytes(RESERVE_BYTES)} are to stay free, "
            f"and the disk of {folder} has {_mebibytes(free)} left",
            "free some space, choose another output folder with -o (TMPDIR, if that is -), or a smaller format with -f",
        )


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes >= 10 * 2**20 else f"{n_bytes / 2**20:.1f} MiB"
