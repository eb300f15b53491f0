"""Times as people type them."""

from __future__ import annotations

from frametx.errors import UsageError


def seconds_from(text: str, option: str) -> float:
    """Read `75`, `75.5`, `1:15` or `1:01:15` as seconds.

    Raises:
        UsageError: It is none of these.
    """
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or any(not 0 <= number < float("inf") for number in numbers):
        raise UsageError(f"{option} '{text}' is no time", "write seconds (75 or 75.5) or minutes and seconds (1:15)")
    seconds = 0.0
    for number in numbers:
        seconds = seconds * 60 + number
    return seconds
