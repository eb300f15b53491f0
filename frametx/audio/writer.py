"""Stems as files that are either complete or not there.

A stem grows beside its target under a hidden name that ends in `.part` and is renamed when it is complete, so a file
with a final name is a finished one. Levels are never changed: what a format cannot hold is cut and counted.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import soundfile

from frametx.audio.encoders import bits_of, open_encoder, stem_format
from frametx.audio.pcm import quantise, saturate
from frametx.errors import AudioError

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from frametx.audio.info import BitDepth

_NAME_MAX_BYTES = 255  # what the usual file systems allow
_FULL_HINT = "free some space or choose another output folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStem:
    """What became of a stem.

    Attributes:
        path: The finished file.
        n_samples: Its length in samples per channel.
        peak: Its largest absolute sample before clipping; full scale is 1.0.
        n_clipped: Samples that exceeded what the format holds, over all channels.
    """

    path: Path
    n_samples: int
    peak: float
    n_clipped: int


class StemWriter:
    """Writes one stem; as a context manager it removes what it began when the block fails or is interrupted.

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
        format: str,  # noqa: A002  (the word the command line and the manifest use)
        sample_rate: int,
        channels: int,
        bit_depth: BitDepth,
        overwrite: bool = False,
        n_samples: int | None = None,
    ) -> None:
        self.target = Path(target)
        self._form = stem_format(format)
        self.bits = bits_of(self._form, bit_depth)
        self._overwrite = overwrite
        self._channels = channels
        self._n_samples = 0
        self._n_clipped = 0
        self._peak = 0.0
        self._closed = False
        self._check_target()
        self._part = _part_beside(self.target)
        try:
            self._file = _RecordingFile(self._part)
        except OSError as error:
            raise AudioError(
                f"{self.target.parent} cannot be written to: {error.strerror or error}",
                hint="choose another output folder",
            ) from error
        try:
            self._encoder = open_encoder(
                self._file,  # type: ignore[arg-type]  # the methods that encoders use
                self._form,
                bits=self.bits,
                sample_rate=sample_rate,
                channels=channels,
                n_samples=n_samples,
            )
            self._file.check(self.target)
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
        if block.shape[1] == 0:
            return
        if self.bits is not None and block.dtype.kind == "f":
            block = quantise(block, self.bits)
        full_scale = 1.0 if self.bits is None else float(2 ** (self.bits - 1))
        self._peak = max(self._peak, float(block.max()) / full_scale, -float(block.min()) / full_scale)
        if self.bits is not None:
            block, n_clipped = saturate(block, self.bits)
            self._n_clipped += n_clipped
        elif not self._form.bit_depths and self._peak > 1.0:
            self._n_clipped += int(np.count_nonzero(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        self._encode(block)
        self._n_samples += block.shape[1]

    def finish(self) -> WrittenStem:
        """Complete the file and give it its final name.

        Raises:
            AudioError: There were no samples, the last bytes could not be written, or another program made the
                target meanwhile.
        """
        try:
            if self._n_samples == 0:
                raise AudioError(f"{self.target} was given no samples, and a stem cannot be empty")
            self._close_encoder()
            self._check_target()
            self._part.replace(self.target)
            self._closed = True
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self.abort()
        return WrittenStem(path=self.target, n_samples=self._n_samples, peak=self._peak, n_clipped=self._n_clipped)

    def abort(self) -> None:
        """Remove the unfinished file. Safe to call at any time."""
        if self._closed:
            return
        self._closed = True
        self._file.discard = True  # what an encoder still writes while it closes goes nowhere
        encoder = getattr(self, "_encoder", None)
        if encoder is not None:
            with contextlib.suppress(Exception):  # it may be in any state, and its file goes away
                encoder.close()
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _check_target(self) -> None:
        if self.target.is_dir():
            raise AudioError(f"{self.target} is a folder", hint="choose another name for the stem")
        if not self._overwrite and self.target.exists():
            raise AudioError(f"{self.target} exists already", hint="allow overwriting, or choose another folder")

    def _encode(self, block: NDArray[Any]) -> None:
        try:
            self._encoder.write(block)
            error: BaseException | None = None
        except (soundfile.LibsndfileError, AssertionError, OSError) as raised:
            error = raised  # libsndfile's report of a write that failed; the file knows why
        self._raise_if_failed(error)

    def _close_encoder(self) -> None:
        try:
            self._encoder.close()
            error: BaseException | None = None
        except (soundfile.LibsndfileError, OSError) as raised:
            error = raised
        self._raise_if_failed(error)
        self._file.sync()
        self._file.close()

    def _raise_if_failed(self, error: BaseException | None) -> None:
        cause = self._file.error or error
        if cause is not None:
            self.abort()
            raise self._failed(cause) from cause

    def _failed(self, cause: BaseException) -> AudioError:
        reason = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        return AudioError(f"{self.target} could not be written: {reason}; the unfinished file is removed", _FULL_HINT)


def _part_beside(target: Path) -> Path:
    """A new hidden name in the target's folder that no search for audio files matches."""
    suffix = f".{os.getpid()}-{secrets.token_hex(4)}.part"
    room = _NAME_MAX_BYTES - len(suffix) - 1
    name = os.fsencode(target.name)[:room].decode("utf-8", errors="ignore")  # may end inside a letter
    return target.with_name(f".{name}{suffix}")


class _RecordingFile:
    """A binary file for C libraries: a failed write is remembered, as an exception cannot pass through C."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb+", buffering=1 << 18)
        self.error: OSError | None = None
        self.discard = False

    def write(self, data: bytes) -> int:
        if self.discard:
            return len(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:  # seeking writes the buffer first
            self.error = self.error or error
            return 0

    def tell(self) -> int:
        return self._file.tell()

    def check(self, target: Path) -> None:
        """Raise what has gone wrong so far, bytes in the buffer included."""
        try:
            self._file.flush()
        except OSError as error:
            self.error = self.error or error
        if self.error is not None:
            raise AudioError(f"{target} could not be written: {self.error.strerror}", _FULL_HINT) from self.error

    def sync(self) -> None:
        """Make sure that the bytes are on the disk before the name is."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # its buffer may have no room left on the disk
            self._file.close()
