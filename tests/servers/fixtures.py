"""The servers as fixtures, and a checkpoint for them to serve."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.servers.files import FakeFiles
from tests.servers.mega import FakeMega

if TYPE_CHECKING:
    from collections.abc import Iterator

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
