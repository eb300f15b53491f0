"""Sections as people type them: `1:10-1:42`."""

from __future__ import annotations

import re

from frametx.cli.times import seconds_from
from frametx.errors import UsageError


def section_times(text: str) -> tuple[float, float]:
    """Read `1:10-1:42` or `70-102.5` as seconds, to a thousandth.

    Raises:
        UsageError: It is not two times, or the second is not after the first.
    """
    parts = re.split(r"\s*(?:-|\u2013|\.\.)\s*", text.strip())
    if len(parts) != 2:
        raise UsageError(f"--section '{text}' is no section", "write it as 1:10-1:42")
    start, end = (round(seconds_from(part, "--section"), 3) for part in parts)
    if end <= start:
        raise UsageError(f"--section '{text}' ends before it begins", "write the earlier time first")
    return start, end
