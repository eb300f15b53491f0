"""The files of a song's stems: where they go, how they are opened and written, and what there is to say about them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frametx.audio.pcm import quantise
from frametx.audio.writer import StemWriter, WrittenStem
from frametx.errors import AudioError, UsageError, reason_of
from frametx.naming import Naming, check_collisions
from frametx.outputs import OutputOptions, Stem, bit_depth_for, refuse_own_song
from frametx.songs import SongFile

if TYPE_CHECKING:
    import numpy as np

    from frametx.audio.reader import SongReader
    from frametx.separate import Stems

_STEMS = f"name {' or '.join(Stem)}, or both"


def open_writers(
    stack: ExitStack, targets: Mapping[Stem, Path], song: SongReader, options: OutputOptions
) -> dict[Stem, StemWriter]:
    """Open all stems; leaving `stack` removes those that are not finished."""
    return {
        stem: stack.enter_context(
            StemWriter(
                target,
                format=options.format,
                sample_rate=song.sample_rate,
                channels=song.channels,
                bit_depth=bit_depth_for(options, song.info),
                overwrite=options.overwrite,
                n_samples=song.n_samples,
            )
        )
        for stem, target in targets.items()
    }


def stem_blocks(stems: Stems, bits: int | None) -> dict[Stem, np.ndarray[Any, Any]]:
    """A stretch as files hold it; as integers of `bits` bits the stems sum to the song exactly, where nothing clips."""
    if bits is None:
        return {Stem.INSTRUMENTAL: stems.instrumental, Stem.VOCALS: stems.vocals}
    vocals = quantise(stems.vocals, bits)
    return {Stem.INSTRUMENTAL: quantise(stems.mix, bits) - vocals, Stem.VOCALS: vocals}


def stem_targets(
    song: Path, output: str | Path | Mapping[Stem, Path] | Mapping[str, str | Path], options: OutputOptions
) -> dict[Stem, Path]:
    """Where the stems go; their folders are made.

    Raises:
        UsageError: No stem is named, or one that there is not, or one would replace the song.
        AudioError: A folder cannot be made.
    """
    try:
        targets = (
            {Stem(stem): Path(target) for stem, target in output.items()}
            if isinstance(output, Mapping)
            else Naming().targets(SongFile(path=song), Path(output), map(Stem, options.stems), options.format)
        )
    except ValueError as error:
        raise UsageError(f"there is no such stem: {error}", _STEMS) from error
    if not targets:
        raise UsageError("no stem is wanted", _STEMS)
    check_collisions([(song, targets)])
    refuse_own_song(song, targets.values())
    for folder in {target.parent for target in targets.values()}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AudioError(
                f"the output folder {folder} cannot be made: {reason_of(error)}", "choose another with -o"
            ) from error
    return targets


def writing_notes(written: Mapping[Stem, WrittenStem], form: str) -> list[str]:
    """What a person should know about finished stems."""
    notes = []
    for stem, done in written.items():
        if done.n_clipped:
            notes.append(
                f"{stem.value}: {done.n_clipped} samples exceeded full scale (peak {done.peak:.3f}) and were clipped "
                f"in {form}; --format wav --bit-depth float keeps them"
            )
        notes += [f"{stem.value}: {note}" for note in done.notes]
    return notes
