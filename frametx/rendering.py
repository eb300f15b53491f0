"""Making the stems of a finished song again: the base stems with every section of the edit list spliced in.

New stems are written beside the old ones and take their names when both are complete. The edit list alone decides what
they hold, so that redoing, undoing and editing by hand are one thing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from frametx.audio.writer import WrittenStem
from frametx.clock import check_range
from frametx.edit_list import EditList, Section, StemFile
from frametx.edit_list_file import text_of, write_edit_list
from frametx.errors import AudioError, EditListError, UsageError, reason_of
from frametx.finished_song import work_folder
from frametx.outputs import Stem
from frametx.provenance import known_sha256
from frametx.renaming import put_in_place
from frametx.section_vocals import SectionVocals, Separators
from frametx.span_reader import SpanReader
from frametx.splice import Reach, Span, Splice, quietest_fade, reach_of
from frametx.stem_files import writing_notes
from frametx.stem_rewriter import read_stored, rewrite_stems, stored_bits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from frametx.separate import Progress

_LARGEST_RESIDUAL = 1e-3  # root mean square, full scale 1; stems that leave more belong to another song


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Stems made again.

    Attributes:
        edits: The edit list as it is now.
        stems: The files written.
        splices: Where each section was laid in, in the order of the sections.
        n_separated: How many sections went through their models; the vocals of the others were at hand.
        notes: What a person should know.
    """

    edits: EditList
    stems: Mapping[Stem, WrittenStem]
    splices: tuple[Splice, ...]
    n_separated: int
    notes: tuple[str, ...]


def redo_sections(
    edits: EditList, sections: Sequence[Section], separators: Separators, *, progress: Progress | None = None
) -> Rendered:
    """Separate sections of a finished song anew and splice them into its stems.

    Raises:
        UsageError: A section is not inside the song, or two overlap. Nothing was touched.
        FrametxError: As `render`.
    """
    ordered = sorted(sections, key=lambda section: section.start_seconds)
    for section in ordered:
        check_range(section.start_seconds, section.end_seconds, edits.song.seconds, f"the section {section}")
    for left, right in itertools.pairwise(ordered):
        if right.start_seconds < left.end_seconds:
            raise UsageError(f"the sections {left} and {right} overlap", "join them, or redo one after the other")
    return render(edits.with_sections((*edits.sections, *sections)), separators, progress=progress)


def undo(edits: EditList, separators: Separators, *, progress: Progress | None = None) -> Rendered:
    """Take back the last section.

    Raises:
        EditListError: There is none.
        FrametxError: As `render`.
    """
    if not edits.sections:
        raise EditListError(f"{edits.path} has no section to undo")
    return render(edits.with_sections(edits.sections[:-1]), separators, progress=progress)


def render(
    edits: EditList, separators: Separators, *, fresh: bool = False, progress: Progress | None = None
) -> Rendered:
    """Make the stems from the base stems and the sections, and write the edit list.

    Args:
        edits: What to make.
        separators: Opens the models of sections whose vocals are not at hand.
        fresh: Separate every section again, even where its vocals are at hand.
        progress: Told the stage (`survey`, `separate`, `write`) and how much of it is done, 0..1.

    Raises:
        EditListError: Files are missing, or are not those that the edit list speaks of; or somebody else is at work on
            the stems, or has changed the edit list since it was read.
        AudioError: Reading or writing failed. The stems are as they were; only where the last step failed, giving new
            stems their names, one may be new, and rendering the edit list once more makes both.
    """
    folder = work_folder(edits)
    try:
        with _at_work(edits, folder):
            _refuse_outdated(edits)
            return _Rendering(edits, separators, folder, fresh, progress or (lambda _stage, _done: None)).run()
    except Timeout:
        raise EditListError(
            f"another frametx is at work on the stems of {edits.path}", "wait for it to finish"
        ) from None
    except OSError as error:
        name = error.filename or folder
        raise AudioError(f"{name}: {reason_of(error)}", "check the folder's permissions and space") from error


@contextlib.contextmanager
def _at_work(edits: EditList, folder: Path) -> Iterator[None]:
    """Hold the folder, one process at a time; when nothing comes of a first redo it goes away again."""
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock", timeout=0):
        was_empty = all(path.name == ".lock" for path in folder.iterdir())
        try:
            yield
        finally:
            # without a list no stem was replaced; but what lay there before may be the base of one that was taken away
            if was_empty and not edits.path.exists():
                shutil.rmtree(folder, ignore_errors=True)


def _refuse_outdated(edits: EditList) -> None:
    """Refuse a list that was read before the folder was held, and to which another redo added something in between."""
    if text_of(edits.path) != edits.text:
        raise EditListError(f"{edits.path} was changed since it was read", "run the same command again")


class _Rendering:
    """One run of `render`."""

    def __init__(self, edits: EditList, separators: Separators, folder: Path, fresh: bool, progress: Progress) -> None:
        self.edits = edits
        self.folder = folder
        self.progress = progress
        self.vocals = SectionVocals(edits, separators, folder, fresh=fresh, progress=progress)

    def run(self) -> Rendered:
        base = {stem: self._base_file(stem) for stem in Stem}
        if self.edits.sections:
            self._check_song()
        bits = stored_bits(base[Stem.VOCALS])
        new = {stem: self.folder / f"new_{stem.label}{path.suffix}" for stem, path in base.items()}
        splices: list[Splice] = []
        try:
            with contextlib.ExitStack() as files:
                for index in range(len(self.edits.sections)):
                    splices.append(self._splice(index, base, splices, bits))
                    files.callback(splices[-1].close)
                written = self._write(base, new, splices)
            self._publish(base, new)
        finally:
            for path in new.values():
                path.unlink(missing_ok=True)
        stems = {stem: replace(done, path=self.edits.stems[stem].path) for stem, done in written.items()}
        return Rendered(
            edits=self.edits,
            stems=stems,
            splices=tuple(splices),
            n_separated=self.vocals.n_separated,
            notes=(*self.vocals.notes, *writing_notes(stems, base[Stem.VOCALS].suffix[1:])),
        )

    def _base_file(self, stem: Stem) -> Path:
        """The base stem: kept in the folder, or the stem itself before the first redo."""
        base, now = self.edits.base[stem], self.edits.stems[stem]
        for path in (base.path, now.path):
            if path.is_file() and known_sha256(path) == base.sha256:
                return path
        state = "was changed" if base.path.exists() else "is missing"
        raise EditListError(
            f"the base stem {base.path} {state}",
            f"separate the song again and remove {self.edits.path}: its sections can be redone on the new stems",
        )

    def _check_song(self) -> None:
        song = self.edits.song
        if not song.path.is_file():
            raise EditListError(
                f"the song {song.path} is missing", f"correct [song] path in {self.edits.path}, or name it with --song"
            )
        if known_sha256(song.path) != song.sha256:
            raise EditListError(
                f"the song {song.path} is not the one its stems were made from: its sha256 differs",
                f"correct [song] path in {self.edits.path}, or separate it again",
            )

    def _splice(self, index: int, base: Mapping[Stem, Path], below: list[Splice], bits: int | None) -> Splice:
        """Lay section `index` over the base and the sections `below`."""
        song, section = self.edits.song, self.edits.sections[index]
        reach = _reach(section, song)
        kept = self.vocals.get(index, reach.whole)
        self.edits = self.vocals.edits
        new = Splice(
            vocals=SpanReader(kept, Span(start=0, stop=len(reach.whole))),
            mix=SpanReader(song.path, reach.whole),
            start=reach.whole.start,
            fade_in=reach.before,
            fade_out=reach.after,
        )

        def place(where: Span, *, latest: bool) -> Span:
            if not len(where):
                return where
            there = {stem: read_stored(path, where, bits) for stem, path in base.items()}
            _check_sum(new.mix.read(where), there, bits, self.edits)
            old = _laid(there[Stem.VOCALS], where, below, bits)
            at = where.start + quietest_fade(_floats(old, bits), new.new_vocals(where), reach.fade, latest=latest)
            return Span(start=at, stop=at + reach.fade)

        try:
            return replace(new, fade_in=place(reach.before, latest=True), fade_out=place(reach.after, latest=False))
        finally:
            new.close()

    def _write(
        self, base: Mapping[Stem, Path], new: Mapping[Stem, Path], splices: list[Splice]
    ) -> dict[Stem, WrittenStem]:
        stems = self.edits.stems
        return rewrite_stems(
            base,
            new,
            splices,
            n_samples=self.edits.song.n_samples,
            tags_from={stem: stems[stem].path if stems[stem].path.exists() else base[stem] for stem in Stem},
            on_done=lambda done: self.progress("write", done),
        )

    def _publish(self, base: Mapping[Stem, Path], new: Mapping[Stem, Path]) -> None:
        """Keep the base stems, write the edit list, give the new stems their names.

        In this order nothing is ever lost: until the list is written the stems are as they were, and from then on it can
        be rendered again.
        """
        for stem, path in base.items():
            kept = self.edits.base[stem].path
            if path != kept:
                _link(path, kept)
        if not self.edits.sections:
            for stem, path in new.items():  # all taken back: the base stems themselves, to the byte
                shutil.copyfile(self.edits.base[stem].path, path)
        stems = {
            stem: StemFile(path=self.edits.stems[stem].path, sha256=known_sha256(path)) for stem, path in new.items()
        }
        self.edits = replace(self.edits, stems=stems)
        self.edits = write_edit_list(self.edits)
        for stem, path in new.items():
            try:
                put_in_place(path, stems[stem].path)
            except OSError as error:
                raise AudioError(
                    f"{stems[stem].path} cannot be replaced: {reason_of(error)}",
                    f"see to that, or close the program that uses it; then `frametx render {self.edits.path}` "
                    "makes both stems",
                ) from error
        used = {self.vocals.kept_path(section) for section in self.edits.sections}
        for path in self.folder.glob("section_*.wav"):
            if path not in used:
                path.unlink()


def _reach(section: Section, song: Any) -> Reach:
    start = min(round(section.start_seconds * song.sample_rate), song.n_samples - 1)
    stop = min(max(round(section.end_seconds * song.sample_rate), start + 1), song.n_samples)
    return reach_of(Span(start=start, stop=stop), song.n_samples, song.sample_rate)


def _laid(vocals: NDArray[Any], where: Span, splices: list[Splice], bits: int | None) -> NDArray[Any]:
    for splice in splices:
        splice.lay_over(vocals, None, where.start, bits)
    return vocals


def _floats(samples: NDArray[Any], bits: int | None) -> NDArray[np.float32]:
    return samples if bits is None else (samples / 2.0 ** (bits - 1)).astype(np.float32)


def _at_full_scale(samples: NDArray[Any], bits: int | None) -> NDArray[np.bool_]:
    if bits is None:
        return np.zeros(samples.shape, dtype=np.bool_)  # floats are never cut
    full_scale = 2 ** (bits - 1)
    cut: NDArray[np.bool_] = (samples <= -full_scale) | (samples >= full_scale - 1)
    return cut


def _check_sum(mix: NDArray[np.float32], stems: Mapping[Stem, NDArray[Any]], bits: int | None, edits: EditList) -> None:
    """Refuse stems of another song. Where one was cut at full scale they don't add up to their own either."""
    total = sum(_floats(samples, bits) for samples in stems.values())
    kept = np.logical_not(np.any([_at_full_scale(samples, bits) for samples in stems.values()], axis=0))
    residual = float(np.sqrt(np.mean(np.square(mix - total), where=kept))) if kept.any() else 0.0
    if residual > _LARGEST_RESIDUAL:
        raise AudioError(
            f"the stems beside {edits.path} do not add up to {edits.song.path}",
            "name the song that they were made from, or separate it again",
        )


def _link(path: Path, kept: Path) -> None:
    """A second name for a file whose first is about to be given to another; a copy where links can't be made."""
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:
        shutil.copy2(path, kept)
