"""What commands show: everything for people goes to stderr, so that stdout is free for results."""

from __future__ import annotations

from rich.console import Console

console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print one plain line for people."""
    console.print(message, markup=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """`0:42`, `3:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
