"""Decoding with libsndfile: WAV, FLAC, AIFF, Ogg, MP3, CAF, W64, AU ..."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import soundfile

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


def probe_with_soundfile(path: Path) -> AudioInfo | None:
    """What libsndfile says about `path`, or None when another decoder should look at it."""
    with path.open("rb") as file:
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


def _truncated(info: AudioInfo, n_readable: int, n_claimed: int) -> AudioError:
    readable_seconds = n_readable / info.sample_rate
    return AudioError(
        f"{info.path} is truncated: its header promises {n_claimed / info.sample_rate:.2f} s of audio, "
        f"{readable_seconds:.2f} s ({n_readable} samples) can be read",
        hint=f"fetch the file again, or take what is there with an end of {int(readable_seconds * 10) / 10:.1f} s",
    )


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
        AudioError: A lossless file that ends before its header says, or is damaged.
    """
    with info.path.open("rb") as file:
        try:
            with StreamedSoundFile(file, "r") as sound:
                yield from _blocks_of(info, sound, size, start, end)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{info.path} cannot be decoded: {error.error_string or error}") from error


def _blocks_of(
    info: AudioInfo, sound: soundfile.SoundFile, size: int, start: int, end: int | None
) -> Iterator[NDArray[np.float32]]:
    position = _go_to(info, sound, start)
    n_claimed = None if info.n_samples is None else round(info.n_samples * _missing_share(sound))
    while end is None or position < end:
        wanted = size if end is None else min(size, end - position)
        block = _read(sound, wanted)
        if len(block):
            position += len(block)
            yield np.ascontiguousarray(block.T)  # n c -> c n
        if len(block) < wanted:
            break
    # Lossy headers may claim what they like: what can be decoded is the song.
    lossless = info.bit_depth is not None
    if lossless and n_claimed is not None and position < min(n_claimed, end if end is not None else n_claimed):
        raise _truncated(info, position, n_claimed)


def _go_to(info: AudioInfo, sound: soundfile.SoundFile, start: int) -> int:
    """Move to sample `start` and return the position reached.

    Lossy codecs are decoded from the beginning: what they give after a seek is not the same to the bit.
    """
    if start == 0:
        return 0
    if info.bit_depth is not None and info.n_samples is not None:
        return int(sound.seek(min(start, info.n_samples)))
    position = 0
    while position < start:
        n_read = len(_read(sound, min(65536, start - position)))
        position += n_read
        if n_read == 0:
            break
    return position


def _read(sound: soundfile.SoundFile, n_samples: int) -> NDArray[np.float32]:
    """Up to `n_samples` samples, `[n c]`; fewer only where the file ends or breaks."""
    parts: list[NDArray[np.float32]] = []
    missing = n_samples
    while missing:
        try:
            part: NDArray[np.float32] = sound.read(missing, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            break  # a damaged or cut frame: the caller compares what came with what was promised
        if len(part) == 0:
            break
        parts.append(part)
        missing -= len(part)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros((0, sound.channels), dtype=np.float32)
