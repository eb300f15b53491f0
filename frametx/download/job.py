"""What a download is asked to do, what it hands back, and how patient it is."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from frametx.errors import DownloadError, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A person waits this long without being asked; whoever wants more is told so and may come back.
LONGEST_WAIT_SECONDS = 60.0
# MEGA's own client assumes an hour when the server names no time.
UNKNOWN_WAIT_SECONDS = 3600.0


def _no_bytes(_done: int, _total: int | None) -> None:
    """Show nothing."""


def _no_note(_note: str) -> None:
    """Say nothing."""


def _admit_all(_size_bytes: int | None, _done: int) -> None:
    """Refuse nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file to fetch into a part file.

    Attributes:
        part: Where the bytes go. What is there already is continued where that is safe.
        admit: Called with the announced size (None: not announced) and the bytes that are there, before the first byte
            of the body is read; raises to refuse.
        limit_bytes: No more than this is ever written, whatever was announced.
        sha256: The digest that the file must have, if known: it makes continuing a stranger's part safe.
        on_bytes: Told (bytes done, bytes in all or None) now and then.
        on_note: Told what a person may want to know: waits, a new address, a fresh start.
        wait: Sleeps for so many seconds.
    """

    part: Path
    limit_bytes: int
    sha256: str | None = None
    admit: Callable[[int | None, int], None] = _admit_all
    on_bytes: Callable[[int, int | None], None] = _no_bytes
    on_note: Callable[[str], None] = _no_note
    wait: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A complete part file.

    Attributes:
        size_bytes: Its size.
        sha256: Its digest, computed on the way.
        vouched_by: What vouches for the bytes: MEGA's code in the link, an encrypted connection, nothing.
    """

    size_bytes: int
    sha256: str
    vouched_by: Literal["mac", "tls", "nothing"]


class Passing(Exception):
    """A failure that may pass by itself.

    Args:
        message: What happened; becomes the error's message when patience is at its end.
        at_least_seconds: How long the server asks to wait.
        quota: The wait is for a quota, not for a fault.
    """

    def __init__(self, message: str, *, at_least_seconds: float = 0.0, quota: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.at_least_seconds = at_least_seconds
        self.quota = quota


class Patience:
    """How often and how long to wait: 1, 2, 4, 8, 16 s, then no more; anew whenever bytes arrive."""

    def __init__(self, job: Job, tries: int = 5) -> None:
        self._job = job
        self._tries = tries
        self._failures = 0

    def progress(self) -> None:
        """Forget the failures: something arrived."""
        self._failures = 0

    def bear(self, failure: Passing, *, hint: str | None = None) -> None:
        """Wait before the next try.

        Raises:
            QuotaExceeded: The server wants a longer wait than a person would stand.
            DownloadError: Too many failures without a byte in between.
        """
        asked = failure.at_least_seconds
        if asked > LONGEST_WAIT_SECONDS:
            raise QuotaExceeded(f"{failure.message}; it can go on in {span(asked)}", asked, hint) from failure
        self._failures += 1
        if self._failures > self._tries:
            raise DownloadError(f"{failure.message} (gave up after {self._tries} more tries)", hint) from failure
        backoff = 2.0 ** (self._failures - 1) * random.uniform(0.75, 1.25)  # noqa: S311  (spreads clients, keeps no secret)
        seconds = max(asked, backoff)
        self._job.on_note(f"{failure.message}; trying again in {seconds:.0f} s")
        self._job.wait(seconds)


def span(seconds: float) -> str:
    """Write a time for people: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def amount(n_bytes: float) -> str:
    """Write a size for people, in decimal units: `812 kB`, `1.62 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            value = n_bytes / factor
            return f"{value:.2f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{n_bytes:.0f} bytes"
