"""What commands show: everything for people goes to stderr, so that stdout is free for results."""

from __future__ import annotations

from contextlib import suppress

from rich.console import Console

console = Console(stderr=True, highlight=False, emoji=False)  # :heart: may be a part of a name


def say(message: str) -> None:
    """Print one plain line for people; where stderr takes no more, on a full disk, say, the work goes on without."""
    with suppress(OSError):
        console.print(message, markup=False, soft_wrap=True)


def say_error(message: str, hint: str | None) -> None:
    """Print what went wrong, and the way out if there is one."""
    say(f"error: {message}")
    if hint:
        say(f"hint: {hint}")
