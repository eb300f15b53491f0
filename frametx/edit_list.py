"""What an edit list says: which song, which base stems, and which sections were redone, in order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from frametx.clock import clock_text
from frametx.windows import WindowOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from frametx.outputs import Stem


@dataclass(frozen=True, slots=True, kw_only=True)
class SongFacts:
    """What is known about the song.

    Attributes:
        path: The file.
        sha256: Its digest.
        sample_rate: Samples per second.
        channels: 1 or 2, after any downmix.
        n_samples: Samples per channel.
        peaks: The largest STFT magnitude of the whole song, by kind of STFT: window/hop in samples, with `-grid` where
            frames are those that the original program saw.
    """

    path: Path
    sha256: str
    sample_rate: int
    channels: int
    n_samples: int
    peaks: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Length."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section redone.

    Attributes:
        start_seconds: Where it begins.
        end_seconds: Where it ends.
        models: Snapshots, presets or checkpoint files; empty: the default model.
        windows: Windows and ensemble.
        precision: auto, fp32, bf16 or fp16.
        checkpoints: Digest of each checkpoint that was used, by the model's name; empty until it was.
    """

    start_seconds: float
    end_seconds: float
    models: tuple[str, ...] = ()
    windows: WindowOptions = field(default_factory=WindowOptions)
    precision: str = "auto"
    checkpoints: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """`1:10 - 1:42`."""
        return f"{clock_text(self.start_seconds)} - {clock_text(self.end_seconds)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StemFile:
    """A stem on disk, and the digest it had."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EditList:
    """How finished stems came about.

    Attributes:
        path: The file it is kept in.
        song: The song.
        base: The stems before any section was redone.
        stems: The stems as they are now.
        sections: What was redone, in order; later ones lie over earlier ones.
        text: What stood in the file when the list was read or begun; None where there was no file. By that it is
            noticed when somebody else changes the file.
    """

    path: Path
    song: SongFacts
    base: Mapping[Stem, StemFile]
    stems: Mapping[Stem, StemFile]
    sections: tuple[Section, ...] = ()
    text: str | None = field(default=None, compare=False, repr=False)

    def with_sections(self, sections: tuple[Section, ...]) -> EditList:
        """The same with other sections."""
        return replace(self, sections=sections)


def section_values(section: Section) -> dict[str, Any]:
    """A section as the values of its table, only what is not a default; the same section has the same values."""
    windows = section.windows
    values: dict[str, Any] = {
        "from": clock_text(section.start_seconds),
        "to": clock_text(section.end_seconds),
        "models": list(section.models),
        "ensemble": None if windows.rule is None else windows.rule.value,
        "weights": None if windows.weights is None else list(windows.weights),
        "crop": windows.crop,
        "context": windows.context,
        "tta": windows.tta or None,
        "postprocess": windows.postprocess or None,
        "compat": "original" if windows.original else None,
        "precision": None if section.precision == "auto" else section.precision,
        "checkpoints": dict(section.checkpoints) or None,
    }
    return {key: value for key, value in values.items() if value is not None}
