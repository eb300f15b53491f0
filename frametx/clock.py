"""Times in a song as people write them: `1:10`, `1:10.5`, `1:02:03`, `70`; and ranges of them."""

from __future__ import annotations

from frametx.errors import UsageError


def parse_clock(text: str) -> float | None:
    """Seconds, or None when the text is no time."""
    parts = text.strip().split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    if not 1 <= len(numbers) <= 3 or any(not 0 <= number < float("inf") for number in numbers):
        return None
    if any(number >= 60 for number in numbers[1:]) or any(number % 1 for number in numbers[:-1]):  # 1:70, 1.5:30
        return None
    seconds = 0.0
    for number in numbers:
        seconds = seconds * 60 + number
    return seconds


def clock_text(seconds: float, digits: int = 3) -> str:
    """`1:10.5`: minutes and seconds, with as many decimals as needed, at most `digits`; hours where there are any."""
    rounded = round(seconds, digits)
    minutes, rest = divmod(rounded, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:0{digits + 3 if digits else 2}.{digits}f}"
    text = text.rstrip("0").rstrip(".") if digits else text
    whole, _, decimals = text.partition(".")
    text = whole.zfill(2) + (f".{decimals}" if decimals else "")
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"


def check_range(start_seconds: float, end_seconds: float, song_seconds: float, what: str) -> None:
    """Refuse a range that is empty or not inside the song.

    Raises:
        UsageError: With the song's length.
    """
    if end_seconds <= start_seconds:
        raise UsageError(f"{what} ends at {clock_text(end_seconds)}, which is not after its beginning")
    end = clock_text(song_seconds)
    if start_seconds >= song_seconds:
        raise UsageError(f"{what} begins after the song's end at {end}", "choose an earlier one")
    if end_seconds > song_seconds + 0.5:  # who types the length shown by a player means the end
        raise UsageError(f"{what} ends after the song's end at {end}", f"end it at {end}")
