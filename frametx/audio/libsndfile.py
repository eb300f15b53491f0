"""Decoding with libsndfile: WAV, FLAC, AIFF, Ogg, MP3, CAF, W64, AU ..."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from frametx.audio.damage import damaged, truncated
from frametx.audio.info import AudioInfo, BitDepth
from frametx.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_BIT_DEPTHS: dict[str, BitDepth] = {
    "PCM_S8": 16,
    "PCM_U8": 16,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": "float",
    "FLOAT": "float",
    "DOUBLE": "float",
    "ULAW": 16,
    "ALAW": 16,
    "ALAC_16": 16,
    "ALAC_20": 24,
    "ALAC_24": 24,
    "ALAC_32": "float",
}
# A header written to a pipe cannot know the length; writers put one of these there.
_UNKNOWN_LENGTHS = {0, 0x7FFFFFFF}
_UNKNOWN_FROM = 0xFFFFFFFF - 65536  # all ones, less the header or rounded down to whole samples
_LENGTH_UNKNOWN_FROM = 2**62  # libsndfile's SF_COUNT_MAX for a FLAC stream without a length


class StreamedSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that is read or written in one go.

    `SoundFile` seeks to where it already is after every block of a seekable file. That makes an MP3 decoder begin anew,
    which damages the samples at every block's edge; and it trusts the header's length over the samples that come.
    """

    def seekable(self) -> bool:
        """Say no, which keeps `read` and `write` from seeking."""
        return False


class Nameless(io.BufferedReader):
    """A file for reading that doesn't say its name: soundfile takes what is called .raw for samples without a header.

    Raises:
        OSError: It cannot be opened.
    """

    name = ""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))


def probe_with_soundfile(path: Path) -> AudioInfo | None:
    """What libsndfile says about `path`, or None when another decoder should look at it."""
    with Nameless(path) as file:
        try:
            with soundfile.SoundFile(file, "r") as sound:
                # Vorbis and Opus have another order of surround channels than WAVE; FFmpeg says which is which
                return None if sound.format == "OGG" and sound.channels > 2 else _info_of(path, sound)
        except soundfile.LibsndfileError:
            return None


def _info_of(path: Path, sound: soundfile.SoundFile) -> AudioInfo:
    n_samples: int | None = sound.frames
    if sound.frames >= _LENGTH_UNKNOWN_FROM or (sound.format == "FLAC" and sound.frames == 0):
        n_samples = None
    return AudioInfo(
        path=path,
        sample_rate=sound.samplerate,
        channels=sound.channels,
        n_samples=n_samples,
        bit_depth=_BIT_DEPTHS.get(sound.subtype),
        format=sound.format if sound.format == sound.subtype else f"{sound.format} {sound.subtype}",
        decoder="soundfile",
    )


def _missing_share(sound: soundfile.SoundFile) -> float:
    """How many times longer the header says the samples are than what is there; 1.0 for a whole file.

    libsndfile shortens the length of a truncated WAV or AIFF to what is there and only notes it in its log.
    """
    found = re.search(r"^ *(?:data|SSND) *: *(\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
    if found is None:
        return 1.0
    claimed, there = int(found[1]), int(found[2])
    if claimed in _UNKNOWN_LENGTHS or claimed >= _UNKNOWN_FROM or claimed <= there:
        return 1.0
    return claimed / max(there, 1)


def soundfile_blocks(info: AudioInfo, size: int, start: int, end: int | None) -> Iterator[NDArray[np.float32]]:
    """Samples `start` to `end` (None: to the end of the file) in blocks.

    Args:
        info: The file.
        size: Samples in a block; the last may be shorter.
        start: First sample.
        end: The sample to stop before.

    Yields:
        `[c n]`, full scale is 1.0.

    Raises:
        AudioError: A lossless file that ends before its header says, or a damaged one.
    """
    with Nameless(info.path) as file:
        try:
            with StreamedSoundFile(file, "r") as sound:
                yield from _blocks_of(info, sound, size, start, end)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{info.path} cannot be decoded: {error.error_string or error}") from error


def _blocks_of(
    info: AudioInfo, sound: soundfile.SoundFile, size: int, start: int, end: int | None
) -> Iterator[NDArray[np.float32]]:
    stream = _Stream(info, sound)
    stream.go_to(start)
    while end is None or stream.position < end:
        wanted = size if end is None else min(size, end - stream.position)
        block = stream.read(wanted)
        if len(block):
            yield np.ascontiguousarray(block.T)  # n c -> c n
        if len(block) < wanted:
            stream.check_end(end)
            break


class _Stream:
    """A decoder that knows where it is and how it ended.

    Attributes:
        position: The next sample.
    """

    def __init__(self, info: AudioInfo, sound: soundfile.SoundFile) -> None:
        self.position = 0
        self._info = info
        self._sound = sound
        self._lossless = info.bit_depth is not None
        self._error: soundfile.LibsndfileError | None = None
        # what a call had decoded before it failed is lost: small calls where a file may be played in spite of damage
        self._step = None if self._lossless else 4096
        self._n_claimed = None if info.n_samples is None else round(info.n_samples * _missing_share(sound))

    def go_to(self, start: int) -> None:
        """Move to sample `start`, or to the end.

        Lossy codecs are decoded from the beginning: what they give after a seek is not the same to the bit.
        """
        if start and self._lossless and self._info.n_samples is not None:
            self.position = int(self._sound.seek(min(start, self._info.n_samples)))
        while self.position < start and len(self.read(min(65536, start - self.position))):
            pass

    def read(self, n_samples: int) -> NDArray[np.float32]:
        """Up to `n_samples` samples, `[n c]`; fewer only where the file ends or breaks."""
        parts: list[NDArray[np.float32]] = []
        missing = n_samples
        while missing and self._error is None:
            wanted = min(missing, self._step or missing)
            # up to the end in a call of its own: the decoder fails at what lies behind it, an ID3v1 tag, say
            left = (self._n_claimed or 0) - (self.position + n_samples - missing)
            wanted = min(wanted, left) if left > 0 else wanted
            try:
                part = self._sound.read(wanted, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                self._error = error
                break
            if len(part) == 0:
                break
            parts.append(part)
            missing -= len(part)
        self.position += n_samples - missing
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros((0, self._sound.channels), dtype=np.float32)

    def check_end(self, end: int | None) -> None:
        """Refuse a song that ended too early.

        A lossless file must hold what its header promises. A lossy one may claim what it likes, and what can be decoded
        is the song, unless the decoder failed in the middle.
        """
        n_claimed = self._n_claimed
        if n_claimed is None or self.position >= min(n_claimed, n_claimed if end is None else end):
            return
        if self._lossless:
            raise truncated(self._info, self.position, n_claimed)
        if self._error is not None and self.position < n_claimed - self._info.sample_rate:
            raise damaged(self._info, self.position, n_claimed) from self._error
