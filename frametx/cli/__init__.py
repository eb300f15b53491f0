"""The command line: parse, call one function, show. The only folder that prints or exits."""

from __future__ import annotations

import sys

from frametx.errors import EXIT_INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback from here on, while it is still being loaded too."""
    try:
        from frametx.cli import app  # noqa: PLC0415  (what may be interrupted)

        app.main()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
