"""The encoders behind the formats of stems.

An encoder takes a binary file open for writing, is ready to go once it is made, and says so by not raising. It takes
samples as the format holds them: integers for a bit depth, floats for the others.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import av
import av.error
import numpy as np
import soundfile

from frametx.audio.fifo import Fifo
from frametx.audio.libsndfile import StreamedSoundFile
from frametx.errors import AudioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from frametx.audio.formats import StemFormat

WAV_LIMIT_BYTES = 2**32 - 2**26  # a WAV header counts to 4 GiB; 64 MiB are left for tags and cover art


class Sink(Protocol):
    """A seekable binary file, as far as encoders use it."""

    def write(self, data: bytes) -> int:
        """Write at the current position and say how much."""

    def read(self, count: int = -1) -> bytes:
        """Read at the current position."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move and say where to."""

    def tell(self) -> int:
        """The current position."""


class Encoder(Protocol):
    """Samples in, bytes of one format out."""

    def write(self, samples: NDArray[Any]) -> None:
        """Take `[c n]`: int32 of the stem's bit depth, or float32."""

    def close(self) -> None:
        """Write what is left and the final header."""


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

    def __init__(
        self,
        file: Sink,
        form: StemFormat,
        *,
        bits: int | None,
        sample_rate: int,
        channels: int,
        n_samples: int | None = None,
    ) -> None:
        self._bits = bits
        container, subtype = form.container, form.codec
        if not subtype:
            subtype = "FLOAT" if bits is None else f"PCM_{bits}"
        if container == "WAV" and (n_samples or 0) * channels * (bits or 32) // 8 >= WAV_LIMIT_BYTES:
            container = "RF64"
        if container == "FLAC" and sample_rate > 65535 and (sample_rate % 10 or sample_rate > 384000):
            # libsndfile would notice with the first samples, after the network's work
            raise AudioError(f"flac cannot be written at {sample_rate} Hz", hint="choose wav")
        try:
            self._sound = StreamedSoundFile(
                file,
                "w",
                samplerate=sample_rate,
                channels=channels,
                format=container,
                subtype=subtype,
                **form.options,
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


class AvEncoder:
    """Encoding with FFmpeg.

    The container tells players how many samples the encoder put before the song and how many behind it, to the sample.

    Args:
        file: Where the bytes go; must be seekable.
        form: The format.
        sample_rate: Samples per second.
        channels: 1 or 2.

    Raises:
        AudioError: FFmpeg was built without this encoder, or it refuses the rate or the channels.
    """

    def __init__(self, file: Sink, form: StemFormat, *, sample_rate: int, channels: int) -> None:
        self._sample_rate = sample_rate
        self._layout = "mono" if channels == 1 else "stereo"
        self._pending = Fifo()
        self._n_encoded = 0
        try:
            # The edit list counts in the movie's time scale, whose default is milliseconds.
            options = {"movie_timescale": str(sample_rate)}
            self._container = av.open(file, "w", format=form.container, options=options)
            stream: Any = self._container.add_stream(form.codec, rate=sample_rate, layout=self._layout)
            self._stream = stream
            self._stream.bit_rate = form.options["bit_rate"] * channels // 2
            self._stream.codec_context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise AudioError(
                f"{form.name} cannot be written with {channels} channels at {sample_rate} Hz: {error}",
                hint="choose another format, for example flac",
            ) from error

    def write(self, samples: NDArray[Any]) -> None:
        """Take float32 `[c n]`."""
        self._pending.push(samples)
        frame_size = self._stream.codec_context.frame_size
        while self._pending.n_samples >= frame_size:
            self._encode(frame_size)

    def close(self) -> None:
        """Write what is left and the index."""
        if self._pending.n_samples:
            self._encode(self._pending.n_samples)
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _encode(self, n_samples: int) -> None:
        samples = np.ascontiguousarray(self._pending.pull(n_samples))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._n_encoded
        self._n_encoded += n_samples
        self._container.mux(self._stream.encode(frame))


def open_encoder(
    file: Sink, form: StemFormat, *, bits: int | None, sample_rate: int, channels: int, n_samples: int | None = None
) -> Encoder:
    """An encoder that is ready for samples; a missing one fails here, before anything is computed.

    Raises:
        AudioError: The library lacks the encoder or can't write this rate or number of channels.
    """
    if form.library == "av":
        return AvEncoder(file, form, sample_rate=sample_rate, channels=channels)
    return SoundfileEncoder(file, form, bits=bits, sample_rate=sample_rate, channels=channels, n_samples=n_samples)
