"""An instrumental as a video: with the picture of the song's own video, else with its cover.

A video stream is copied packet by packet, not encoded again. A cover becomes one H.264 picture a second.
"""

from __future__ import annotations

import io
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from frametx.audio.ffmpeg import open_container
from frametx.audio.fifo import Fifo
from frametx.audio.formats import rate_of, stem_format
from frametx.audio.partfile import PartFile
from frametx.audio.reader import SongReader
from frametx.audio.resample import Resampler
from frametx.errors import AudioError
from frametx.images import cover_of
from frametx.outputs import refuse_own_song

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_IN_MP4 = frozenset(("h264", "hevc", "av1", "vp9", "mpeg4"))
_MARK = "made by frametx"
_LONGEST_SIDE = 1280
_PLAIN_SIZE = 720
_AAC_FRAME = 1024


def video_target(song: Path, instrumental: Path) -> Path:
    """What the video of an instrumental is called: its name with .mp4, or .mkv for a picture that MP4 cannot hold.

    Raises:
        AudioError: The song cannot be opened.
    """
    with _opened(song) as container:
        stream = _picture_stream(container)
        suffix = ".mp4" if stream is None or stream.codec_context.name in _IN_MP4 else ".mkv"
    return instrumental.with_suffix(suffix)


def make_video(song: Path, instrumental: Path, *, overwrite: bool = False) -> Path:
    """Write the video of an instrumental beside it.

    Args:
        song: The song, which gives the picture.
        instrumental: The finished stem.
        overwrite: Replace a file that is there.

    Returns:
        The video.

    Raises:
        AudioError: A file cannot be read, or the video cannot be written. Nothing half-written is left.
        UsageError: The video would have the song's own name.
    """
    target = video_target(song, instrumental)
    refuse_own_song(song, [target])
    part = PartFile(target, overwrite=overwrite)
    try:
        with ExitStack() as stack:
            source = stack.enter_context(_opened(song))
            form = "mp4" if target.suffix == ".mp4" else "matroska"
            out = stack.enter_context(av.open(part, "w", format=form))
            out.metadata["comment"] = _MARK
            _mux(song, source, instrumental, out)
        if part.error is not None:
            raise part.error
        part.close()
        part.publish()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise AudioError(f"the video {target} cannot be made: {error}", "leave out --video") from error
    finally:
        part.remove()
    return target


def is_own_video(path: Path) -> bool:
    """Whether a file is a video that `make_video` made."""
    try:
        with path.open("rb") as file, open_container(file) as container:
            return _MARK in (container.metadata.get("comment"), container.metadata.get("COMMENT"))
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def _mux(song: Path, source: Any, instrumental: Path, out: Any) -> None:
    """Audio and picture, side by side in time."""
    picture = _picture_stream(source)
    with SongReader(instrumental) as stem:
        rate = rate_of(stem_format("m4a"), stem.sample_rate)
        audio = out.add_stream("aac", rate=rate, layout="mono" if stem.channels == 1 else "stereo")
        audio.bit_rate = 256_000
        packets: Iterator[tuple[float, Any]]
        if picture is None:
            seconds = (stem.n_samples or 0) / stem.sample_rate
            packets = _still_packets(cover_of(song), out, seconds)
        else:
            packets = _copied_packets(source, picture, out)
        pending = next(packets, None)
        for position, frame in _audio_frames(stem, rate, _first_second(source)):
            while pending is not None and pending[0] <= position:
                out.mux(pending[1])
                pending = next(packets, None)
            out.mux(audio.encode(frame))
        while pending is not None:
            out.mux(pending[1])
            pending = next(packets, None)
        out.mux(audio.encode(None))


def _audio_frames(stem: SongReader, rate: int, first_second: float) -> Iterator[tuple[float, Any]]:
    """The stem in frames of AAC's size, with the second each begins at."""
    resampler = Resampler(stem.sample_rate, rate, stem.channels)
    at = round(first_second * rate)
    for samples in _in_frames(resampler.stream(stem.blocks())):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format="fltp", layout="mono" if stem.channels == 1 else "stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        yield at / rate, frame
        at += samples.shape[1]


def _in_frames(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The same samples `[c n]` in AAC's frames, the last of which may be shorter, cut at full scale."""
    waiting = Fifo()
    for block in blocks:
        waiting.push(np.clip(block, -1.0, 1.0))
        while waiting.n_samples >= _AAC_FRAME:
            yield waiting.pull(_AAC_FRAME)
    if waiting.n_samples:
        yield waiting.pull(waiting.n_samples)


def _copied_packets(source: Any, picture: Any, out: Any) -> Iterator[tuple[float, Any]]:
    stream = out.add_stream_from_template(picture)
    for packet in source.demux(picture):
        if packet.dts is None:
            continue
        packet.stream = stream
        yield float(packet.dts * packet.time_base), packet


def _still_packets(cover: bytes | None, out: Any, seconds: float) -> Iterator[tuple[float, Any]]:
    """One picture a second, the cover or a black square."""
    frame = _still_frame(cover)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"tune": "stillimage", "preset": "veryfast", "crf": "20"} if codec == "libx264" else {}
    stream = out.add_stream(codec, rate=1, options=options)
    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
    if codec == "mpeg4":
        stream.bit_rate = 1_000_000

    def packets() -> Iterator[tuple[float, Any]]:
        for second in range(max(1, int(np.ceil(seconds)))):
            frame.pts, frame.time_base = second, Fraction(1, 1)
            yield from ((float(second), packet) for packet in stream.encode(frame))
        yield from ((seconds, packet) for packet in stream.encode(None))

    return packets()


def _still_frame(cover: bytes | None) -> Any:
    frame = None
    if cover is not None:
        try:
            with open_container(io.BytesIO(cover)) as container:
                frame = next(container.decode(video=0))
        except (av.error.FFmpegError, StopIteration, ValueError, IndexError):
            frame = None  # a damaged picture is none
    if frame is None:
        frame = av.VideoFrame.from_ndarray(np.zeros((_PLAIN_SIZE, _PLAIN_SIZE, 3), dtype=np.uint8), format="rgb24")
    scale = min(1.0, _LONGEST_SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))  # H.264 wants even
    return frame.reformat(width=width, height=height, format="yuv420p")


@contextmanager
def _opened(song: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            container = stack.enter_context(open_container(stack.enter_context(song.open("rb"))))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise AudioError(f"{song} cannot be opened for its picture: {error}", "leave out --video") from error
        yield container


def _picture_stream(container: Any) -> Any:
    """The first video stream that is no embedded cover; None where there is none."""
    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    return streams[0] if streams else None


def _first_second(container: Any) -> float:
    """When the song's audio begins on the clock of its video."""
    audio = container.streams.audio[0] if container.streams.audio else None
    if audio is None or audio.start_time is None or _picture_stream(container) is None:
        return 0.0
    return max(0.0, float(audio.start_time * audio.time_base))
