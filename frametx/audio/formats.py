"""What songs can be read from and what stems can be written as."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import av
import soundfile

from frametx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from frametx.audio.info import BitDepth


@dataclass(frozen=True, slots=True, kw_only=True)
class StemFormat:
    """A format for stems.

    Attributes:
        name: What it is called on the command line; also the file name's extension.
        description: For people, with the quality.
        container: The library's name of it.
        codec: The library's name of the codec; empty where the bit depth decides.
        options: How the library is told the quality.
        bit_depths: What it can hold; empty for a lossy codec, which has no bit depth.
        rates: The sample rates it can have at that quality; empty for any.
        library: What encodes it.
    """

    name: str
    description: str
    container: str
    codec: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    bit_depths: tuple[BitDepth, ...] = ()
    rates: tuple[int, ...] = ()
    library: Literal["soundfile", "av"] = "soundfile"


_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)

FORMATS = {
    form.name: form
    for form in (
        StemFormat(
            name="flac",
            description="FLAC, lossless, 16 or 24 bit",
            container="FLAC",
            # The third of nine levels: the usual sixth takes a third more time and saves 2 to 10 % of the size.
            options={"compression_level": 0.25},
            bit_depths=(16, 24),
        ),
        StemFormat(
            name="wav",
            description="WAV, 16 or 24 bit or float; RF64 above 4 GiB",
            container="WAV",
            bit_depths=(16, 24, "float"),
        ),
        StemFormat(
            name="mp3",
            description="MP3, 320 kbit/s",
            container="MP3",
            codec="MPEG_LAYER_III",
            options={"bitrate_mode": "CONSTANT", "compression_level": 0.0},
            rates=(32000, 44100, 48000),  # the others, MPEG-2's, end at 160 kbit/s
        ),
        StemFormat(
            name="ogg",
            description="Ogg Vorbis, quality 9 (about 320 kbit/s)",
            container="OGG",
            codec="VORBIS",
            options={"compression_level": 0.1},
            rates=(*_AAC_RATES, 176400, 192000),
        ),
        StemFormat(
            name="opus",
            description="Ogg Opus, about 300 kbit/s, always 48 kHz",
            container="OGG",
            codec="OPUS",
            options={"compression_level": 0.4},
            rates=(48000,),
        ),
        StemFormat(
            name="m4a",
            description="M4A, AAC, 256 kbit/s",
            container="ipod",
            codec="aac",
            options={"bit_rate": 256_000},
            rates=_AAC_RATES,
            library="av",
        ),
    )
}


def stem_format(name: str) -> StemFormat:
    """The format called `name`.

    Raises:
        UsageError: There is none; the hint lists those there are.
    """
    form = FORMATS.get(name.lower().removeprefix("."))
    if form is None:
        raise UsageError(f"stems cannot be written as {name!r}", hint=f"choose one of {', '.join(FORMATS)}")
    return form


def bits_of(form: StemFormat, bit_depth: BitDepth) -> int | None:
    """How many bits the stem's integers have; None when the encoder takes floats.

    Raises:
        UsageError: The format cannot hold `bit_depth`. A lossy one takes any: it has none of its own.
    """
    if not form.bit_depths:
        return None
    if bit_depth not in form.bit_depths:
        depths = " or ".join(str(depth) for depth in form.bit_depths)
        raise UsageError(
            f"{form.name} cannot hold a bit depth of {bit_depth}; it takes {depths}",
            hint="choose another bit depth, or wav, which takes 16, 24 and float",
        )
    return None if bit_depth == "float" else bit_depth


def rate_of(form: StemFormat, sample_rate: int) -> int:
    """The sample rate of a stem: the song's where the format has it.

    Else the highest that is a multiple or a part of it (88.2 kHz becomes 44.1 kHz, not 48), else the format's highest.
    """
    if not form.rates or sample_rate in form.rates:
        return sample_rate
    related = [rate for rate in form.rates if rate % sample_rate == 0 or sample_rate % rate == 0]
    return max(related or form.rates)


# What people meet among what libsndfile does not read: FFmpeg's codecs and their usual names
_DECODERS = {
    "aac": "AAC (M4A, MP4)",
    "ac3": "AC-3",
    "alac": "ALAC (M4A)",
    "ape": "Monkey's Audio",
    "dca": "DTS",
    "eac3": "E-AC-3",
    "opus": "Opus (WebM, MP4)",
    "tta": "TTA",
    "wavpack": "WavPack",
    "wmalossless": "WMA Lossless",
    "wmapro": "WMA Pro",
    "wmav2": "WMA",
}


def writable_formats() -> dict[str, str]:
    """The names of the formats whose encoder is on this machine, with their descriptions."""
    soundfile_has = soundfile.available_formats()
    return {
        form.name: form.description
        for form in FORMATS.values()
        if (
            form.codec in av.codecs_available
            if form.library == "av"
            else form.container in soundfile_has and form.codec in ("", *soundfile.available_subtypes(form.container))
        )
    }


def readable_formats() -> dict[str, list[str]]:
    """For each decoding library the formats it reads, by their usual names."""
    return {
        "soundfile": sorted(set(soundfile.available_formats()) - {"RAW"}),  # RAW has no header to read
        "av": sorted(name for codec, name in _DECODERS.items() if codec in av.codecs_available),
    }
