"""What happens while songs are separated, as values: shown to people, or written as JSON, one object a line.

Every object has `event`, which says what it is, and its fields; further fields and events may be added, so a reader
skips what it doesn't know. Paths are text, times are seconds.

    {"event": "start",    "song": "a.flac", "index": 1, "count": 12, "seconds": 213.4}
    {"event": "progress", "song": "a.flac", "stage": "survey" | "separate", "done": 0.25}
    {"event": "done",     "song": "a.flac", "stems": {"instrumental": "separated/a_Instrumental.flac", "vocals": ...},
                          "seconds": 213.4, "elapsed_seconds": 31.0, "notes": ["..."], "song_sha256": "...",
                          "others": ["separated/a_Instrumental.mp4"]}
    {"event": "skipped",  "song": "b.flac", "reason": "...", "stems": {"instrumental": ..., "vocals": ...}}
    {"event": "failed",   "song": "c.flac", "message": "...", "hint": "..." | null, "traceback": null | "..."}
    {"event": "note",     "message": "..."}
    {"event": "summary",  "done": 10, "skipped": 1, "failed": 1, "seconds": 2134.0, "elapsed_seconds": 310.0,
                          "interrupted": false}

`start` comes when work on a song begins; its `seconds` is null where the file doesn't say its length. Then come any
number of `progress` and one of `done` and `failed`. A song that needs no work has one `skipped` with its stems; so has
what was passed over in a folder, without any. `stems` of `done` are all that were asked for, those too that were there
before; where that were all of them, and a video or report alone was missing, its `seconds` are 0. A `traceback` is
there only if the failure is frametx's own fault. `summary` is always last, also after Ctrl-C (`interrupted`);
only a command that cannot begin, for wrong usage or a song that is not there, writes nothing but its error to stderr.
With several workers the events of different songs mix; a song whose worker died starts again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    kind: ClassVar[str]

    def to_json(self) -> str:
        """One line of JSON, without the line's end; characters that no text encoding has are escaped."""
        return json.dumps({"event": self.kind, **asdict(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Event):
    """Work on a song begins; it is number `index` (from 1) of `count`."""

    kind: ClassVar[str] = "start"
    song: str
    index: int
    count: int
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """So much of a stage is done, 0..1."""

    kind: ClassVar[str] = "progress"
    song: str
    stage: str
    done: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    """A song's stems are there, their names and paths; and other files that were asked for and made now."""

    kind: ClassVar[str] = "done"
    song: str
    stems: Mapping[str, str]
    seconds: float
    elapsed_seconds: float
    notes: tuple[str, ...]
    song_sha256: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped(Event):
    """A song needs no work, because these stems are there; or something in a folder was passed over."""

    kind: ClassVar[str] = "skipped"
    song: str
    reason: str
    stems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """A song could not be separated."""

    kind: ClassVar[str] = "failed"
    song: str
    message: str
    hint: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """Something a person should know that belongs to no song."""

    kind: ClassVar[str] = "note"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Event):
    """How it went. `seconds` is the length of the songs done, `elapsed_seconds` the time everything took."""

    kind: ClassVar[str] = "summary"
    done: int
    skipped: int
    failed: int
    seconds: float
    elapsed_seconds: float
    interrupted: bool = False
