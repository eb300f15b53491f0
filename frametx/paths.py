"""Paths from the root on, links left as they are."""

from __future__ import annotations

import os
from pathlib import Path


def absolute_path(path: Path) -> Path:
    """Return the path from the root on, without `..`. Unlike `Path.resolve` it follows no links and asks no disk."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (that would be Path.resolve)


def with_parents(folder: Path) -> tuple[Path, ...]:
    """Return the folder, as it was given, and all folders above it."""
    return folder, *absolute_path(folder).parents
