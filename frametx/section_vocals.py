"""The vocals of an edit list's sections: separated once, then kept beside the stems."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from frametx.audio.reader import SongReader
from frametx.audio.writer import StemWriter
from frametx.edit_list import Section, section_values
from frametx.errors import AudioError, EditListError
from frametx.provenance import checkpoint_sha256
from frametx.sections import peak_kinds, separate_span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from frametx.edit_list import EditList
    from frametx.separate import Progress
    from frametx.separator import Separator
    from frametx.spectrum import Framing
    from frametx.splice import Span

Separators = Callable[[Section], "Separator"]
"""Opens the models of a section."""


class SectionVocals:
    """Gives the vocals of sections, and completes the edit list with what it learns on the way.

    Args:
        edits: The edit list.
        separators: Opens models.
        folder: Where vocals are kept.
        fresh: Separate every section again, even where its vocals are at hand.
        progress: Told the stage (`survey`, `separate`) and how much of it is done, 0..1.

    Attributes:
        edits: The edit list with peak magnitudes, checkpoints and precisions filled in.
        n_separated: How many sections went through their models.
        notes: What the models had to say.
    """

    def __init__(
        self, edits: EditList, separators: Separators, folder: Path, *, fresh: bool, progress: Progress
    ) -> None:
        self.edits = edits
        self.n_separated = 0
        self.notes: list[str] = []
        self._separators = separators
        self._folder = folder
        self._fresh = fresh
        self._progress = progress

    def get(self, index: int, span: Span) -> Path:
        """The vocals of section `index` as a file: those at hand, or separated now and kept.

        Args:
            index: Which section, from 0.
            span: The samples of the song, fades and what lies between them.

        Raises:
            EditListError: The section was made with another checkpoint than the one that is here.
        """
        section = self.edits.sections[index]
        if section.checkpoints and not self._fresh and _is_whole(self.kept_path(section), len(span)):
            return self.kept_path(section)
        separator = self._separators(section)
        found = {model.name: checkpoint_sha256(model.path) for model in separator.models}
        for name, digest in section.checkpoints.items():
            if found.get(name) != digest:
                raise EditListError(
                    f"{self.edits.path}: section {index + 1} was made with another checkpoint {name}",
                    "remove its 'checkpoints' line to use the one that is here now",
                )
        section = replace(section, checkpoints=found, precision=separator.precision)
        sections = self.edits.sections
        self.edits = self.edits.with_sections((*sections[:index], section, *sections[index + 1 :]))
        blocks = separate_span(
            separator,
            self.edits.song.path,
            span,
            n_samples=self.edits.song.n_samples,
            peaks=self._peaks(separator),
            progress=self._progress,
        )
        kept = self.kept_path(section)
        self._keep(blocks, len(span), kept)
        self.n_separated += 1
        self.notes += separator.take_notes()
        return kept

    def _peaks(self, separator: Separator) -> dict[Framing, float]:
        """The whole song's peak magnitudes, found once and kept in the edit list."""
        song, kinds = self.edits.song, peak_kinds(separator)
        if not song.peaks.keys() >= set(kinds.values()):
            n_read = 0

            def on_block(n_new: int) -> None:
                nonlocal n_read
                n_read += n_new
                self._progress("survey", min(1.0, n_read / song.n_samples))

            with SongReader(song.path) as reader:
                survey = separator.survey(reader, on_block)
            if survey.n_samples != song.n_samples:
                raise AudioError(
                    f"{song.path} has {survey.n_samples} samples, its stems have {song.n_samples}",
                    "name the song that the stems were made from",
                )
            found = {kinds[framing]: peak for framing, peak in survey.peaks.items()}
            song = replace(song, peaks={**song.peaks, **found})
            self.edits = replace(self.edits, song=song)
        return {framing: song.peaks[kind] for framing, kind in kinds.items()}

    def kept_path(self, section: Section) -> Path:
        """Where the vocals of a section are kept: the name changes with all that they depend on."""
        values = json.dumps([section_values(section), self.edits.song.sha256], sort_keys=True)
        return self._folder / f"section_{hashlib.sha256(values.encode()).hexdigest()[:12]}.wav"

    def _keep(self, blocks: Iterator[NDArray[np.float32]], n_samples: int, path: Path) -> None:
        song = self.edits.song
        with StemWriter(
            path,
            format="wav",
            sample_rate=song.sample_rate,
            channels=song.channels,
            bit_depth="float",
            overwrite=True,
            n_samples=n_samples,
        ) as writer:
            for block in blocks:
                writer.write(block)
            writer.finish()


def _is_whole(path: Path, n_samples: int) -> bool:
    """Whether a file of so many samples is there, and can be read to its end."""
    try:
        with SongReader(path) as reader:
            n_read: int = sum(block.shape[1] for block in reader.blocks())
    except AudioError:
        return False
    return n_read == n_samples
