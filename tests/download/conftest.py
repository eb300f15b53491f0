"""Servers on loopback and downloads that never sleep."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from servers.files import FakeFiles
from servers.mega import FakeMega

from frametx.download.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHECKPOINT_BYTES = 3_000_003


@pytest.fixture(scope="session")
def checkpoint() -> bytes:
    """Bytes that begin like a checkpoint and end inside a cipher block."""
    return b"PK\x03\x04" + random.Random(5).randbytes(CHECKPOINT_BYTES - 4)


@pytest.fixture
def mega(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMega]:
    """A MEGA of our own."""
    server = FakeMega()
    server.start()
    monkeypatch.setenv("FRAMETX_MEGA_API", server.url)
    yield server
    server.stop()


@pytest.fixture
def files(checkpoint: bytes) -> Iterator[FakeFiles]:
    """A file server that has the checkpoint."""
    server = FakeFiles(checkpoint)
    server.start()
    yield server
    server.stop()


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
    """Make a job into `part` that notes waits in place of sleeping."""

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
