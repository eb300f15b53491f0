"""Giving a finished file its final name, on Windows too."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_IN_USE = (5, 32, 33)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION


def put_in_place(finished: Path, target: Path) -> None:
    """Rename a file, in the place of one that is there.

    Windows refuses that while any program has one of the two open; virus scanners, search indexes and folders that are
    mirrored into a cloud open every new file for a moment. So it is tried for a few seconds.

    Raises:
        OSError: It cannot be renamed.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            finished.replace(target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _IN_USE or time.monotonic() >= give_up:
                raise
        time.sleep(_PAUSE_SECONDS)


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write a small text as UTF-8, whole or not at all.

    Args:
        path: The file; its name may be as long as names can be.
        text: What it shall hold.
        errors: What becomes of characters that UTF-8 lacks, as for `str.encode`.

    Raises:
        OSError: It cannot be written.
        UnicodeEncodeError: There are such characters, and `errors` is strict.
    """
    beside = path.with_name(f".frametx-{secrets.token_hex(4)}")
    try:
        beside.write_text(text, "utf-8", errors)
        put_in_place(beside, path)
    finally:
        beside.unlink(missing_ok=True)
