"""Downloads that never sleep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from frametx.download.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def waits() -> list[float]:
    """How long a download wanted to sleep, each time."""
    return []


@pytest.fixture
def notes() -> list[str]:
    """What a download had to say."""
    return []


@pytest.fixture
def job(tmp_path: Path, waits: list[float], notes: list[str]) -> Callable[..., Job]:
    """Make a job into `model.part` that notes waits in place of sleeping."""

    def make(**changes) -> Job:
        values = {
            "part": tmp_path / "model.part",
            "limit_bytes": 1 << 30,
            "wait": waits.append,
            "on_note": notes.append,
            **changes,
        }
        return Job(**values)

    return make
