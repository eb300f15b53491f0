"""What every test gets: caches in a temporary folder, no network beyond loopback, the same random numbers."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

# the networks of the tests are too small for two threads, which only wait for one another; read when torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

# programs that a test interrupts inherit this; a shell that starts pytest in the background has Ctrl-C ignored
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a deadline is a timing, and the first call of a torch function takes longer than any: timings belong in `frametx bench`
settings.register_profile("no timings", deadline=None)
settings.load_profile("no timings")

pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture(autouse=True)
def private_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every user folder into `tmp_path` and refuse connections to anything but loopback."""
    monkeypatch.setenv("FRAMETX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("FRAMETX_MODELS", "FRAMETX_OFFLINE", "FRAMETX_MEGA_API", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v10 network with an STFT of 256 samples and random weights, as a checkpoint file."""
    import torch

    from frametx.models.v10 import V10

    generator = torch.Generator().manual_seed(0)
    state = V10(n_fft=256, embedding=1, num_heads=4, expansion=1).state_dict()
    for name, tensor in state.items():
        if not name.endswith("freqs"):
            fan_in = max(1, tensor[0].numel())
            state[name] = torch.randn(tensor.shape, generator=generator) * fan_in**-0.5
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def tiny_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mini network with an STFT of 256 samples, whose frames overlap by three quarters, as a checkpoint file."""
    import torch

    from frametx.models.mini import Mini

    torch.manual_seed(0)
    network = Mini(channels=(4, 4, 4), maps=(1, 1, 1), hidden=(8, 8, 8), heads=1, detail=4, n_fft=256)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny_mini.pth"
    torch.save(network.state_dict(), path)
    return path
