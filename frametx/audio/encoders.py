"""What a stem can be written as, and the encoders behind it.

An encoder takes a binary file open for writing, is ready to go once it is made, and says so by not raising. It takes
samples as the format holds them: integers for a bit depth, floats for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import soundfile

from frametx.audio.libsndfile import StreamedSoundFile
from frametx.errors import AudioError, UsageError

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

    from frametx.audio.info import BitDepth

WAV_LIMIT_BYTES = 2**32 - 2**20  # a WAV header counts to 4 GiB; 1 MiB is left for tags and cover art


class Encoder(Protocol):
    """Samples in, bytes of one format out."""

    def write(self, samples: NDArray[Any]) -> None:
        """Take `[c n]`: int32 of the stem's bit depth, or float32."""

    def close(self) -> None:
        """Write what is left and the final header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StemFormat:
    """A format for stems.

    Attributes:
        name: What it is called on the command line; also the file name's extension.
        bit_depths: What it can hold; empty for a lossy codec, which has no bit depth.
        library: What encodes it.
        container: The library's name of the container.
        codec: The library's name of the codec.
        description: For people, with the quality.
    """

    name: str
    bit_depths: tuple[BitDepth, ...]
    library: Literal["soundfile", "av"]
    container: str
    codec: str
    description: str


_FORMATS = {
    form.name: form
    for form in (
        StemFormat(
            name="flac",
            bit_depths=(16, 24),
            library="soundfile",
            container="FLAC",
            codec="",
            description="FLAC, lossless, 16 or 24 bit",
        ),
        StemFormat(
            name="wav",
            bit_depths=(16, 24, "float"),
            library="soundfile",
            container="WAV",
            codec="",
            description="WAV, 16 or 24 bit or float; RF64 above 4 GiB",
        ),
    )
}


def stem_format(name: str) -> StemFormat:
    """The format called `name`.

    Raises:
        UsageError: There is none; the message lists those there are.
    """
    form = _FORMATS.get(name.lower().removeprefix("."))
    if form is None:
        raise UsageError(f"stems cannot be written as {name!r}", hint=f"one of {', '.join(_FORMATS)}")
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


class SoundfileEncoder:
    """Encoding with libsndfile.

    Args:
        file: Where the bytes go; must be seekable, the header is written at the end.
        form: The format.
        bits: Bits of the integers, None for floats.
        sample_rate: Samples per second.
        channels: 1 or 2.
        n_samples: A forecast of the length, which decides between WAV and RF64.

    Raises:
        AudioError: libsndfile can't write this.
    """

    # Of FLAC's nine levels the second: the levels above cost twice the time and save 1 to 2 %.
    flac_level = 0.25

    def __init__(
        self,
        file: BinaryIO,
        form: StemFormat,
        *,
        bits: int | None,
        sample_rate: int,
        channels: int,
        n_samples: int | None = None,
    ) -> None:
        self._bits = bits
        container, subtype, options = form.container, form.codec, {}
        if form.name == "flac":
            subtype, options = f"PCM_{bits}", {"compression_level": self.flac_level}
        elif form.name == "wav":
            subtype = "FLOAT" if bits is None else f"PCM_{bits}"
            if (n_samples or 0) * channels * (bits or 32) // 8 >= WAV_LIMIT_BYTES:
                container = "RF64"
        try:
            self._sound = StreamedSoundFile(
                file, "w", samplerate=sample_rate, channels=channels, format=container, subtype=subtype, **options
            )
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise AudioError(
                f"{form.name} cannot be written with {channels} channels at {sample_rate} Hz: {error}",
                hint="choose another format, for example wav",
            ) from error

    def write(self, samples: NDArray[Any]) -> None:
        """Take `[c n]`: int32 of the stem's bit depth, or float32."""
        # libsndfile's integers are left-aligned: the highest bits of its type are the file's
        if self._bits not in (None, 16):
            samples = samples << (32 - self._bits)
        interleaved = np.empty(samples.shape[::-1], dtype=np.int16 if self._bits == 16 else samples.dtype)
        for channel, row in enumerate(samples):  # c n -> n c; several times faster than one transposing copy
            interleaved[:, channel] = row
        self._sound.write(interleaved)

    def close(self) -> None:
        """Write what is left and the final header."""
        self._sound.close()


def open_encoder(
    file: BinaryIO, form: StemFormat, *, bits: int | None, sample_rate: int, channels: int, n_samples: int | None = None
) -> Encoder:
    """An encoder that is ready for samples; a missing one fails here, before anything is computed.

    Raises:
        AudioError: The library lacks the encoder or can't write this rate or number of channels.
    """
    return SoundfileEncoder(file, form, bits=bits, sample_rate=sample_rate, channels=channels, n_samples=n_samples)
