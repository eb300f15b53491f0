"""Where the report of a result lies; knows nothing of how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from frametx.outputs import Stem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """The files of a report: the page, the sheet of pictures, the figures as JSON."""

    page: Path
    sheet: Path
    figures: Path

    @classmethod
    def of_track(cls, folder: Path, track: str) -> Self:
        """The files in a folder."""
        return cls(
            page=folder / f"{track}.report.html",
            sheet=folder / f"{track}.report.png",
            figures=folder / f"{track}.report.json",
        )

    @classmethod
    def beside(cls, stems: Mapping[Stem, Path]) -> Self:
        """The files that go with stems."""
        return cls.of_track(stems[Stem.VOCALS].parent, track_of(stems[Stem.VOCALS]))


def track_of(stem: Path) -> str:
    """What a stem's name says besides which stem it is."""
    track = stem.stem
    for label in (one.label for one in Stem):
        track = track.removesuffix(f"_{label}")
    return track
