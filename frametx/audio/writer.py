"""Stems as files that are either complete or not there.

A stem grows beside its target under a hidden name that ends in `.part` and is renamed when it is complete, tags
included, so a file with a final name is a finished one. Levels are never changed: what a format cannot hold is cut and
counted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import av.error
import numpy as np
import soundfile

from frametx.audio.encoders import Encoder, open_encoder
from frametx.audio.formats import bits_of, rate_of, stem_format
from frametx.audio.partfile import PartFile
from frametx.audio.pcm import quantise, saturate
from frametx.audio.resample import Resampler
from frametx.audio.tags import Tags, write_tags
from frametx.errors import AudioError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

    from frametx.audio.info import BitDepth

_BLOCK_SIZE = 65536  # libvorbis puts a whole block on its stack


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStem:
    """What became of a stem.

    Attributes:
        path: The finished file.
        n_samples: How many samples per channel were written, at the rate they were given in.
        sample_rate: The file's rate; another than the song's where the format doesn't have that.
        peak: The largest absolute sample before clipping; full scale is 1.0.
        n_clipped: Samples that exceeded what the format holds, over all channels.
        notes: What a person should know.
    """

    path: Path
    n_samples: int
    sample_rate: int
    peak: float
    n_clipped: int
    notes: tuple[str, ...] = ()


class StemWriter:
    """Writes one stem; as a context manager it removes what it began when the block fails or is interrupted.

    MP3, Opus and AAC put samples of their own before the song. Their files say how many, in the LAME header, the Opus
    header and the edit list, and decoders that honour it (ours and FFmpeg do) give the song back aligned and in its
    length. Where a format doesn't have the song's rate (Opus: only 48 kHz) the stem is resampled, and `notes` say so.

    Args:
        target: The final name. Its folder must exist.
        format: Its format, one of `writable_formats()`.
        sample_rate: Samples per second of what is written.
        channels: 1 or 2.
        bit_depth: 16, 24 or "float"; without meaning for lossy formats.
        overwrite: Replace a file that is there.
        n_samples: The length to come, if known; a WAV that would exceed 4 GiB becomes RF64.

    Attributes:
        bits: Bits of the integers that `write` may be given; None when it takes floats only.

    Raises:
        UsageError: The format is unknown or cannot hold the bit depth.
        AudioError: The target exists, its folder cannot be written, or the encoder is missing.
    """

    def __init__(
        self,
        target: Path,
        *,
        format: str,  # noqa: A002  (the word the command line uses)
        sample_rate: int,
        channels: int,
        bit_depth: BitDepth,
        overwrite: bool = False,
        n_samples: int | None = None,
    ) -> None:
        self.target = Path(target)
        self.sample_rate = sample_rate
        self._form = stem_format(format)
        self.bits = bits_of(self._form, bit_depth)
        self._file_rate = rate_of(self._form, sample_rate)
        self._resampler = Resampler(sample_rate, self._file_rate, channels)
        self._channels = channels
        self._n_samples = 0
        self._n_clipped = 0
        self._peak = 0.0
        self._over = False
        self._encoder: Encoder | None = None
        self._part = PartFile(self.target, overwrite=overwrite)
        try:
            self._encoder = open_encoder(
                self._part,
                self._form,
                bits=self.bits,
                sample_rate=self._file_rate,
                channels=channels,
                n_samples=n_samples,
            )
            self._raise_if_failed(None)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the unfinished file; does nothing after `finish`."""
        self.abort()

    def write(self, block: NDArray[Any]) -> None:
        """Append samples.

        Args:
            block: `[c n]`, float32 with full scale 1.0 or, when `bits` is set, integers from `quantise`. Samples
                beyond full scale are cut (and counted) unless the format is float.

        Raises:
            AudioError: The disk is full, or another failure to write; the unfinished file is removed.
        """
        self._n_samples += block.shape[1]
        if self.bits is None:
            block = self._resampler.process(block)
        for first in range(0, block.shape[1], _BLOCK_SIZE):
            self._write_at_file_rate(block[:, first : first + _BLOCK_SIZE])

    def finish(self, *, tags: Tags | None = None) -> WrittenStem:
        """Complete the file, write its tags and give it its final name.

        Raises:
            AudioError: There were no samples, the last bytes could not be written, or another program made the
                target meanwhile. The unfinished file is removed.
        """
        try:
            notes = self._complete(tags)
            self._part.publish()
            self._over = True
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self.abort()
        return WrittenStem(
            path=self.target,
            n_samples=self._n_samples,
            sample_rate=self._file_rate,
            peak=self._peak,
            n_clipped=self._n_clipped,
            notes=tuple(notes),
        )

    def abort(self) -> None:
        """Remove the unfinished file. Safe to call at any time."""
        if self._over:
            return
        self._over = True
        self._part.start_discarding()
        if self._encoder is not None:
            with contextlib.suppress(Exception):  # it may be in any state, and its file goes away
                self._encoder.close()
        self._part.remove()

    def _write_at_file_rate(self, block: NDArray[Any]) -> None:
        if self.bits is not None and block.dtype.kind == "f":
            block = quantise(block, self.bits)
        full_scale = 1.0 if self.bits is None else float(2 ** (self.bits - 1))
        peak = max(float(block.max()), -float(block.min())) / full_scale
        self._peak = max(self._peak, peak)
        if self.bits is not None:
            block, n_clipped = saturate(block, self.bits)
            self._n_clipped += n_clipped
        elif not self._form.bit_depths and peak > 1.0:
            self._n_clipped += int(np.count_nonzero(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        self._guarded(lambda encoder: encoder.write(block))

    def _complete(self, tags: Tags | None) -> list[str]:
        """All bytes but the name; returns notes."""
        if self._n_samples == 0:
            raise AudioError(f"{self.target} was given no samples, and a stem cannot be empty")
        notes = []
        if self.bits is None and (rest := self._last_samples()).shape[1]:
            self._write_at_file_rate(rest)
        if self._file_rate != self.sample_rate:
            notes.append(f"{self._form.name} has no {self.sample_rate} Hz; resampled to {self._file_rate} Hz")
        self._guarded(lambda encoder: encoder.close())
        self._part.close()
        if tags is not None:
            notes += write_tags(self._part.path, tags, format=self._form.name)
        return notes

    def _last_samples(self) -> NDArray[np.float32]:
        return self._resampler.process(np.zeros((self._channels, 0), dtype=np.float32), last=True)

    def _guarded(self, act: Callable[[Encoder], None]) -> None:
        """Let the encoder act, and translate its failures; the file knows better why."""
        if self._over or self._encoder is None:
            raise AudioError(f"{self.target} is finished or given up; nothing can be added")
        raised: BaseException | None = None
        try:
            act(self._encoder)
        except (soundfile.LibsndfileError, av.error.FFmpegError, OSError) as error:
            raised = error
        except AssertionError as error:  # soundfile's word for fewer samples written than given
            if self._part.error is None:
                raise
            raised = error
        self._raise_if_failed(raised)

    def _raise_if_failed(self, raised: BaseException | None) -> None:
        cause = self._part.error or raised
        if cause is not None:
            self.abort()
            raise self._failed(cause) from cause

    def _failed(self, cause: BaseException) -> AudioError:
        return AudioError(
            f"{self.target} could not be written: {reason_of(cause)}; the unfinished file is removed",
            hint="close the program that has it open, or choose another output folder"
            if isinstance(cause, PermissionError)
            else "free some space or choose another output folder",
        )
