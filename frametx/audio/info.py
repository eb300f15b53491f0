"""What is known about an audio file before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

BitDepth = Literal[16, 24, "float"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """What a file says about itself.

    Attributes:
        path: The file.
        sample_rate: Samples per second and channel.
        channels: Channels in the file, before any downmix.
        n_samples: Length in samples per channel; exact for PCM and FLAC, a claim of the header for lossy codecs,
            None when the file doesn't say.
        bit_depth: What the samples were stored as; None for a lossy codec, which has no bit depth.
        format: The container and codec, for people.
        decoder: The library that reads it.
    """

    path: Path
    sample_rate: int
    channels: int
    n_samples: int | None
    bit_depth: BitDepth | None
    format: str
    decoder: Literal["soundfile", "av"]
