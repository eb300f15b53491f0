"""The sound of a report: tracks as AAC inside the page, or links to the files where that would make it too large."""

from __future__ import annotations

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from frametx.audio.encoders import open_encoder
from frametx.audio.formats import rate_of, stem_format
from frametx.audio.reader import SongReader
from frametx.audio.resample import Resampler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BUDGET_BYTES = 24 * 2**20  # of AAC in a page, for all tracks; as text in the page it is a third more
_BEST_BIT_RATE, _LEAST_BIT_RATE = 128_000, 64_000


def audio_sources(tracks: Mapping[str, Path], seconds: float, page: Path, how: str) -> dict[str, str]:
    """What the page's players play, by track: URIs that hold the sound, or relative links.

    Args:
        tracks: The files.
        seconds: Length of the song.
        page: Where the page will be.
        how: embed, link, or auto: embed what stays within the budget at 64 kbit/s or more.
    """
    bit_rate = min(_BEST_BIT_RATE, int(BUDGET_BYTES * 8 / (len(tracks) * max(seconds, 1.0))))
    if how == "link" or (how == "auto" and bit_rate < _LEAST_BIT_RATE):
        return {track: _link(path, page) for track, path in tracks.items()}
    bit_rate = max(bit_rate, _LEAST_BIT_RATE)
    with ThreadPoolExecutor(min(len(tracks), os.cpu_count() or 1)) as pool:
        encoded = pool.map(lambda path: _embedded(path, bit_rate), tracks.values())
        return dict(zip(tracks, encoded, strict=True))


def _embedded(path: Path, bit_rate: int) -> str:
    form = stem_format("m4a")
    file = io.BytesIO()
    with SongReader(path) as reader:
        rate = min(rate_of(form, reader.sample_rate), 48_000)
        resampler = Resampler(reader.sample_rate, rate, reader.channels)
        encoder = open_encoder(
            file,
            replace(form, options={"bit_rate": bit_rate * reader.channels // 2}),
            bits=None,
            sample_rate=rate,
            channels=reader.channels,
        )
        for block in resampler.stream(reader.blocks()):
            encoder.write(np.clip(block, -1.0, 1.0))
        encoder.close()
    return "data:audio/mp4;base64," + base64.b64encode(file.getvalue()).decode()


def _link(path: Path, page: Path) -> str:
    try:
        return quote(os.fsencode(os.path.relpath(path.absolute(), page.parent.absolute()).replace(os.sep, "/")))
    except ValueError:  # another drive
        return path.absolute().as_uri()
