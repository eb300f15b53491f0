"""A finished song: the stems of a song on disk and the edit list that says how they came about.

Beside the stems lie the edit list `<track>.frametx.toml` and the folder `<track>.frametx`. In it are the base stems, as
they were before the first redo, and the vocals of every section, so that undoing or reordering needs no network.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from frametx.audio.formats import FORMATS
from frametx.audio.reader import SongReader, probe
from frametx.audio.tags import read_tags
from frametx.edit_list import EditList, SongFacts, StemFile
from frametx.edit_list_file import read_edit_list, text_of
from frametx.errors import AudioError, EditListError, UsageError
from frametx.naming import DEFAULT_NAME, Naming
from frametx.outputs import Stem
from frametx.paths import absolute_path
from frametx.provenance import TAG, known_sha256
from frametx.songs import SongFile

if TYPE_CHECKING:
    from collections.abc import Mapping


def edit_list_path(song: Path, folder: Path, stems: Mapping[Stem, Path] | None = None) -> Path:
    """Where the edit list of a song's stems lies: `<track>.frametx.toml`, the track cut as in stems where it is too long.

    Songs of one file name may share a folder, and one song may have several pairs of stems there, told apart by the
    template of their names. The first to be redone has that list; those of others have a digest of their stems' name.

    Args:
        song: The song.
        folder: Where its stems lie.
        stems: The stems; None: those of the usual list, whichever they are.
    """
    usual = _list_called("{track}", song, folder)
    if stems is None:
        return usual
    vocals = os.path.relpath(_without_suffix(stems[Stem.VOCALS]), folder)
    own = _list_called(f"{{track}}~{hashlib.sha256(os.fsencode(vocals)).hexdigest()[:6]}", song, folder)
    return own if own.exists() or _is_of_others(usual, stems) else usual


def find_edit_list(song: Path, folder: Path, name: str = DEFAULT_NAME) -> Path:
    """Where the edit list of stems lies, or would lie, that a template named; a list that is there knows their names."""
    try:
        stems = find_stems(song, folder, name)
    except (AudioError, UsageError):
        stems = None
    return edit_list_path(song, folder, stems)


def _list_called(template: str, song: Path, folder: Path) -> Path:
    naming = Naming(template=template + ".{ext}")
    return naming.targets(SongFile(path=song), folder, [Stem.VOCALS], "frametx.toml")[Stem.VOCALS]


def _is_of_others(path: Path, stems: Mapping[Stem, Path]) -> bool:
    """Whether an edit list is of other stems, in whatever format."""
    try:
        known = read_edit_list(path).stems
    except EditListError:  # none, or damaged
        return False
    return {_without_suffix(file.path) for file in known.values()}.isdisjoint(map(_without_suffix, stems.values()))


def _without_suffix(path: Path) -> Path:
    return absolute_path(path).with_suffix("")


def work_folder(edits: EditList) -> Path:
    """The folder beside the edit list that holds the base stems and the sections' vocals."""
    return edits.path.with_suffix("")


def open_edits(song: Path, folder: Path, *, name: str = DEFAULT_NAME, restart: bool = False) -> EditList:
    """The edit list of finished stems, or a new one for stems that have none; nothing is written.

    Args:
        song: The song.
        folder: Where its stems lie.
        name: The template that named them; where it names none, an edit list that is there knows better.
        restart: Begin anew with the stems as they are, even where there is an edit list.

    Raises:
        AudioError: The song or its stems are missing, or don't belong together.
        EditListError: The edit list does not fit the files.
        UsageError: `name` is no template, or one that does not tell where the stems are.
    """
    path = find_edit_list(song, folder, name)
    if restart or not path.exists():
        return _begin(song, folder, name, path)
    edits = read_edit_list(path)
    if known_sha256(song) != edits.song.sha256:
        raise EditListError(
            f"{song} is not the song that {path} was made from: its sha256 differs",
            "name that song, or give the --name of this one's stems; --restart begins anew with the stems as they are",
        )
    for file in edits.stems.values():
        state = "was changed since it was made" if file.path.exists() else "is missing"
        if not file.path.exists() or known_sha256(file.path) != file.sha256:
            raise EditListError(
                f"the stem {file.path} {state}",
                f"`frametx render` makes it again from {path}; --restart begins anew with the stems as they are",
            )
    return replace(edits, song=replace(edits.song, path=song))


def find_stems(song: Path, folder: Path, name: str = DEFAULT_NAME) -> dict[Stem, Path]:
    """The two stems of a song in a folder, in any format.

    Raises:
        AudioError: They are missing, or there are several pairs.
        UsageError: `name` is no template, or depends on the model, which the song does not tell.
    """
    if "{model}" in name:
        raise UsageError(f"--name '{name}' does not say which model", "write its name in the place of {model}")
    naming = Naming(template=name)
    candidates = [naming.targets(SongFile(path=song), folder, Stem, form) for form in FORMATS]
    pairs = [pair for pair in candidates if all(path.is_file() for path in pair.values())]
    if not pairs:
        if read_tags(song).first(TAG):
            raise AudioError(f"{song} is a stem that frametx made", "name the song that it was made from")
        expected = candidates[0][Stem.VOCALS].with_suffix(".*")
        raise AudioError(
            f"{folder} does not hold both stems of {song.name}",
            f"separate it first, or give the --name that its stems were given; expected {expected}",
        )
    if len(pairs) > 1:
        suffixes = ", ".join(pair[Stem.VOCALS].suffix for pair in pairs)
        raise AudioError(
            f"{folder} holds the stems of {song.name} in several formats: {suffixes}", "move all but one away"
        )
    return pairs[0]


def _begin(song: Path, folder: Path, name: str, path: Path) -> EditList:
    with SongReader(song) as reader:
        sample_rate, channels = reader.sample_rate, reader.channels
    stems = find_stems(song, folder, name)
    lengths = set()
    for file in stems.values():
        info = probe(file)
        if info.bit_depth is None or info.n_samples is None:
            raise UsageError(
                f"{file} is {info.format}, a lossy format: every redo would encode all of it again",
                "separate the song with --format flac, redo sections in that, and convert the result at the end",
            )
        if (info.sample_rate, info.channels) != (sample_rate, channels):
            raise AudioError(
                f"{file} has {info.channels} channels at {info.sample_rate} Hz, {song} has {channels} at {sample_rate} Hz",
                "name the song that the stems were made from",
            )
        lengths.add(info.n_samples)
    claimed = probe(song)
    if len(lengths) > 1 or (claimed.bit_depth is not None and claimed.n_samples not in {None, *lengths}):
        raise AudioError(
            f"{song} and its stems in {folder} differ in length", "name the song that the stems were made from"
        )
    work = path.with_suffix("")
    digests = {stem: known_sha256(file) for stem, file in stems.items()}
    return EditList(
        path=path,
        song=SongFacts(
            path=song, sha256=known_sha256(song), sample_rate=sample_rate, channels=channels, n_samples=lengths.pop()
        ),
        base={
            stem: StemFile(path=work / f"base_{stem.label}{file.suffix}", sha256=digests[stem])
            for stem, file in stems.items()
        },
        stems={stem: StemFile(path=file, sha256=digests[stem]) for stem, file in stems.items()},
        text=text_of(path),
    )
