"""The command line: parse, call one function, show. The only folder that prints or exits."""

from __future__ import annotations

from frametx.cli.app import main

__all__ = ["main"]
