"""Songs as blocks of float samples, in constant memory however long they are.

libsndfile reads what it can (WAV, FLAC, AIFF, Ogg, MP3 ...), FFmpeg through PyAV the rest (M4A, MP4, WebM, WMA and the
first audio stream of videos). Files are opened as Python file objects, so that names reach no C string.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from frametx.audio.downmix import SPEAKERS_BY_COUNT, describe_downmix, downmix_matrix
from frametx.audio.ffmpeg import av_blocks, probe_with_av, speakers_of
from frametx.audio.info import AudioInfo
from frametx.audio.libsndfile import probe_with_soundfile, soundfile_blocks
from frametx.errors import AudioError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["AudioInfo", "SongReader", "probe"]


def probe(path: Path) -> AudioInfo:
    """Look at the header of an audio file.

    Raises:
        AudioError: There is no such file, it may not be read, or no decoder knows it.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a folder, not an audio file", hint="name a file in it")
        status = path.stat()
        if stat.S_ISFIFO(status.st_mode):
            raise AudioError(
                f"{path} is a pipe, and songs are read twice",
                hint="let the song come through stdin: COMMAND | frametx separate -",
            )
        if status.st_size == 0:
            raise AudioError(f"{path} is empty: 0 bytes", hint="the copy or download of it probably failed")
        info = probe_with_soundfile(path) or probe_with_av(path)
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist", hint="check the spelling, and quote names with spaces") from error
    except OSError as error:
        raise AudioError(
            f"{path} cannot be opened: {reason_of(error)}",
            hint="check its permissions and its folder's",
        ) from error
    if info is None:
        raise AudioError(f"{path} is not audio that can be read: {_looks_like(path)}", hint="play it to see what it is")
    return info


def _looks_like(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(512)
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in beginning):
        return f"it is text that begins with {beginning[:24].decode(errors='replace')!r}"
    if beginning[4:8] == b"ftyp":
        return "it is an MP4 file without its index, which comes last: it was probably not copied to its end"
    if not any(beginning):
        return "it begins with zero bytes, like an unfinished download"
    return f"no decoder knows a file that begins with the bytes {beginning[:8].hex(' ')}"


class SongReader:
    """A song, or a section of it, as blocks of one or two channels at the file's own rate.

    Args:
        path: The file.
        start_seconds: Where the section begins.
        end_seconds: Where it ends; None or a time behind the end: the end of the file.

    Attributes:
        info: What the file says about itself.
        sample_rate: Samples per second.
        channels: 1 for mono files, else 2.
        notes: What a person should know about how the file was read.

    Raises:
        AudioError: The file cannot be read, or the section is empty.
    """

    def __init__(self, path: Path, *, start_seconds: float = 0.0, end_seconds: float | None = None) -> None:
        self.info = probe(path)
        self.sample_rate = self.info.sample_rate
        self.channels = min(self.info.channels, 2)
        self.notes: list[str] = []
        self._start = max(0, round(start_seconds * self.sample_rate))
        self._end = None if end_seconds is None else round(end_seconds * self.sample_rate)
        self._matrix: NDArray[np.float32] | None = None
        if self.info.channels > 2:
            self._matrix = self._plan_downmix()
        self._check_section()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open between blocks."""

    @property
    def n_samples(self) -> int | None:
        """Samples that `blocks` gives; None when the file doesn't know, a claim for lossy codecs."""
        if self.info.n_samples is None:
            return None
        end = self.info.n_samples if self._end is None else min(self._end, self.info.n_samples)
        return max(0, end - self._start)

    def blocks(self, size: int = 65536) -> Iterator[NDArray[np.float32]]:
        """Every sample once, in order; each call starts again at the beginning.

        Args:
            size: Samples in a block; the last may be shorter.

        Yields:
            float32 `[c n]`, full scale is 1.0 (float files may exceed it).

        Raises:
            AudioError: The file is truncated or damaged, holds NaN or infinite samples, or no sample at all.
        """
        position = self._start
        decode = soundfile_blocks if self.info.decoder == "soundfile" else av_blocks
        for block in decode(self.info, size, self._start, self._end):
            if not np.isfinite(block).all():
                raise self._not_finite(block, position)
            position += block.shape[1]
            yield block if self._matrix is None else self._matrix @ block
        if position == self._start:
            raise self._no_samples()
        self._compare_length(position)

    def _compare_length(self, n_decoded: int) -> None:
        """Note a lossy song that ended earlier than its header says; lossless ones were refused."""
        claimed = self.info.n_samples
        if self._end is not None or claimed is None or claimed - n_decoded <= 0.1 * self.sample_rate:
            return
        note = (
            f"the header promises {claimed / self.sample_rate:.2f} s of audio, "
            f"{n_decoded / self.sample_rate:.2f} s could be decoded"
        )
        if note not in self.notes:
            self.notes.append(note)

    def _plan_downmix(self) -> NDArray[np.float32]:
        speakers: Sequence[str] = speakers_of(self.info.path) if self.info.decoder == "av" else ()
        speakers = speakers or SPEAKERS_BY_COUNT.get(self.info.channels, ())
        try:
            matrix = downmix_matrix(speakers)
        except KeyError as error:
            raise AudioError(
                f"{self.info.path} has {self.info.channels} channels ({' '.join(speakers) or 'in no known order'}), "
                "which cannot be mixed down",
                hint="make a stereo file of it first",
            ) from error
        self.notes.append(describe_downmix(speakers, matrix))
        return matrix

    def _check_section(self) -> None:
        if self._end is not None and self._end <= self._start:
            raise AudioError(
                f"the section of {self.info.path} from {self._start / self.sample_rate:.3f} s "
                f"to {self._end / self.sample_rate:.3f} s is empty",
                hint="the end must be later than the start",
            )
        if self.info.n_samples is not None and self.n_samples == 0:
            raise self._no_samples()

    def _no_samples(self) -> AudioError:
        if self._start:
            return AudioError(
                f"{self.info.path} ends before the start of the section at {self._start / self.sample_rate:.3f} s",
                hint="choose an earlier start",
            )
        return AudioError(f"{self.info.path} holds no samples")

    def _not_finite(self, block: NDArray[np.float32], position: int) -> AudioError:
        channel, sample = np.argwhere(~np.isfinite(block))[0]
        kind = "NaN" if np.isnan(block[channel, sample]) else "infinite"
        at = position + int(sample)
        return AudioError(
            f"{self.info.path} has a sample that is {kind}: channel {channel + 1}, sample {at} "
            f"({at / self.sample_rate:.3f} s)",
            hint="the program that wrote it failed there; export it again or separate the rest with a start and an end",
        )
