"""Decoding with FFmpeg through PyAV: M4A, MP4, AAC, WebM, Matroska, WMA and what else libsndfile cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from frametx.audio.damage import truncated
from frametx.audio.fifo import Fifo
from frametx.audio.info import AudioInfo, BitDepth
from frametx.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_MP4_FAMILY = "mov,mp4"
_FULL_SCALE = {"i2": 2.0**15, "i4": 2.0**31, "u1": 2.0**7}


def open_container(file: BinaryIO) -> Any:
    """A media file's container, for reading; closing it leaves `file` open.

    Playlists could name files and addresses: nothing but `file` itself is opened. Tags may be in any encoding, whatever
    their format says; what isn't UTF-8 in them is replaced, and never makes a song unreadable.

    Raises:
        av.error.FFmpegError: FFmpeg doesn't know it.
        ValueError: PyAV cannot handle it.
    """
    return av.open(file, options={"protocol_whitelist": "none"}, metadata_errors="replace")


def probe_with_av(path: Path) -> AudioInfo | None:
    """What FFmpeg says about the first audio stream of `path`, or None when the file is nothing it knows.

    Raises:
        AudioError: It is a media file, but without audio that can be decoded.
    """
    with path.open("rb") as file:
        try:
            container = open_container(file)
        except (av.error.FFmpegError, ValueError):
            return None
        with container:
            stream = _audio_stream(path, container)
            return AudioInfo(
                path=path,
                sample_rate=stream.codec_context.sample_rate,
                channels=stream.codec_context.layout.nb_channels,
                n_samples=_claimed_samples(container, stream),
                bit_depth=_bit_depth(stream),
                format=f"{container.format.name.split(',')[0]} {stream.codec_context.name}",
                decoder="av",
            )


def speakers_of(path: Path) -> list[str]:
    """FFmpeg's names of the places of the channels, in their order, such as FL, FR, FC; none when it doesn't know."""
    with path.open("rb") as file, open_container(file) as container:
        names = [channel.name for channel in _audio_stream(path, container).codec_context.layout.channels]
    return [] if "NONE" in names else names


def av_blocks(info: AudioInfo, size: int, start: int, end: int | None) -> Iterator[NDArray[np.float32]]:
    """Samples `start` to `end` (None: to the end of the stream) in blocks; the same arguments as `soundfile_blocks`.

    Decodes from the beginning, so that a section has the very samples that the whole has. Priming samples before the
    start are skipped and padding behind the end is cut, where the container says how much there is: MP4 by its edit
    list and the length of its last packet, Ogg and WebM by their own fields. ADTS and Matroska AAC don't say.

    Raises:
        AudioError: The stream is damaged or truncated, or its rate or channels change.
    """
    with info.path.open("rb") as file:
        position = 0
        pending = Fifo()
        for samples in _trimmed(info, file):
            before, position = position, position + samples.shape[1]
            first, last = max(start - before, 0), samples.shape[1] if end is None else end - before
            pending.push(samples[:, first : max(last, 0)])
            while pending.n_samples >= size:
                yield pending.pull(size)
            if end is not None and position >= end:
                break
        if pending.n_samples:
            yield pending.pull(pending.n_samples)


def _trimmed(info: AudioInfo, file: BinaryIO) -> Iterator[NDArray[np.float32]]:
    """Decoded samples without the padding at the end."""
    with open_container(file) as container:
        stream = _audio_stream(info.path, container)
        exact = stream.time_base is not None and stream.time_base * info.sample_rate == 1
        decoded = _Decoded(info, exact=exact)
        pending = Fifo()
        n_given = 0
        claimed = stream.duration if exact else None
        for samples in decoded.frames(container, stream):
            pending.push(samples)
            # never beyond what the packets so far and the edit list say: the rest may be padding
            safe = decoded.end if claimed is None else min(decoded.end, claimed)
            if (n_ready := min(pending.n_samples, safe - n_given)) > 0:
                n_given += n_ready
                yield pending.pull(n_ready)
        end = decoded.end
        # An edit list may count in milliseconds; within one of them a shortened last packet knows better.
        tolerance = info.sample_rate // 1000 if decoded.last_is_short else 0
        if claimed is not None and end - claimed > tolerance:
            end = claimed
        if (n_ready := min(pending.n_samples, end - n_given)) > 0:
            n_given += n_ready
            yield pending.pull(n_ready)
        mp4 = container.format.name.startswith(_MP4_FAMILY)
        if mp4 and info.n_samples is not None and n_given < info.n_samples - info.sample_rate // 2:
            raise truncated(info, n_given, info.n_samples)


class _Decoded:
    """The frames of a stream as float32, and how far the packets said they reach.

    Attributes:
        end: The end of the last packet in samples from the first frame; unlimited when packets count in other units.
        last_is_short: The last packet says that it is shorter than the one before, so it says where the song ends.
    """

    def __init__(self, info: AudioInfo, *, exact: bool) -> None:
        self._info = info
        self._exact = exact
        self._first_pts: int | None = None
        self._n_decoded = 0
        self._last_end = 0
        self._last_duration = 0
        self.last_is_short = False
        self.end = 2**62

    def frames(self, container: Any, stream: Any) -> Iterator[NDArray[np.float32]]:
        broken: Exception | None = None
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                broken = error  # fine for half a packet at the very end
                continue
            if self._exact and packet.pts is not None and packet.duration:
                self._last_end = max(self._last_end, packet.pts + packet.duration)
                self.last_is_short = packet.duration < self._last_duration
                self._last_duration = packet.duration
            for frame in frames:
                if broken is not None:
                    at = self._n_decoded / self._info.sample_rate
                    raise AudioError(f"{self._info.path} is damaged near {at:.2f} s: {broken}") from broken
                yield self._convert(frame)

    def _convert(self, frame: Any) -> NDArray[np.float32]:
        info = self._info
        channels = frame.layout.nb_channels
        if (frame.sample_rate, channels) != (info.sample_rate, info.channels):
            raise AudioError(
                f"{info.path} changes from {info.channels} channels at {info.sample_rate} Hz "
                f"to {channels} at {frame.sample_rate} Hz near {self._n_decoded / info.sample_rate:.2f} s",
                hint="convert it to WAV or FLAC first",
            )
        if self._first_pts is None:
            self._first_pts = frame.pts or 0
        if self._exact:
            self.end = self._last_end - self._first_pts
        self._n_decoded += frame.samples
        return _to_float(frame.to_ndarray(), channels)


def _to_float(samples: NDArray[Any], channels: int) -> NDArray[np.float32]:
    """Samples of any of FFmpeg's formats, planar or packed, as float32 `[c n]` with full scale 1.0."""
    if samples.shape[0] != channels:
        samples = samples.reshape(-1, channels).T  # 1 (n c) -> c n
    full_scale = _FULL_SCALE.get(samples.dtype.str[1:])
    if full_scale is None:
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        samples = samples.astype(np.int16) - 128
    # float64 for 32 bits, so that 24 bits in them stay exact
    return (samples / full_scale).astype(np.float32)


def _audio_stream(path: Path, container: Any) -> Any:
    if not container.streams.audio:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise AudioError(
            f"{path} has no audio stream; it holds: {kinds}", hint="a song must be an audio file or a video with sound"
        )
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None or not context.sample_rate or not context.layout.nb_channels:
        raise AudioError(f"{path} has an audio stream that cannot be decoded", hint="convert it to WAV or FLAC first")
    # frame threads would change nothing but the memory: audio frames are small
    context.thread_count = 1
    return stream


def _claimed_samples(container: Any, stream: Any) -> int | None:
    sample_rate = int(stream.codec_context.sample_rate)
    if stream.duration is not None and stream.time_base is not None:
        return round(float(stream.duration * stream.time_base) * sample_rate)
    if container.duration is not None:
        return round(float(container.duration / av.time_base) * sample_rate)
    return None


def _bit_depth(stream: Any) -> BitDepth | None:
    context = stream.codec_context
    if not context.codec.lossless:
        return None
    name = context.format.name.removesuffix("p")
    if name in ("u8", "s16"):
        return 16
    # 24 bits travel in 32; only PCM has true 32-bit integers
    return 24 if name == "s32" and not context.name.startswith("pcm_s32") else "float"
