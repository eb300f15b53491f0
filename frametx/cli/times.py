"""Times as people type them."""

from __future__ import annotations

from frametx.clock import parse_clock
from frametx.errors import UsageError


def seconds_from(text: str, option: str) -> float:
    """Read `75`, `75.5`, `1:15` or `1:01:15` as seconds.

    Raises:
        UsageError: It is none of these.
    """
    seconds = parse_clock(text)
    if seconds is None:
        raise UsageError(f"{option} '{text}' is no time", "write seconds (75 or 75.5) or minutes and seconds (1:15)")
    return seconds
