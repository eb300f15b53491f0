"""What every test gets: caches in a temporary folder, no network beyond loopback, the same random numbers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def private_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every user folder into `tmp_path` and refuse connections to anything but loopback."""
    monkeypatch.setenv("FRAMETX_CACHE", str(tmp_path / "cache"))
    for name in ("FRAMETX_MODELS", "FRAMETX_OFFLINE", "FRAMETX_MEGA_API", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)
