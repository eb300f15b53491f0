"""Running commands as a user does, in this process or in one of their own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from frametx.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def frametx(monkeypatch, capsys, tmp_path):
    """Run `frametx ARGUMENTS` in a fresh folder, through the real entry point."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["frametx", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return run


@pytest.fixture
def frametx_process(tmp_path):
    """Start `frametx ARGUMENTS` as a process of its own in a fresh folder."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **options) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "frametx", *map(str, arguments)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **({"text": True} | options),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def song(tmp_path) -> Path:
    """Half a second of stereo noise, 16 bit."""
    return write_song(tmp_path / "song.flac", seconds=0.5)


def write_song(path: Path, *, seconds: float, sample_rate: int = 44_100, channels: int = 2, **options) -> Path:
    """Write noise of -20 dB as an audio file."""
    rng = np.random.default_rng(round(seconds * 1000))
    samples = rng.standard_normal((round(seconds * sample_rate), channels)) * 0.1
    soundfile.write(path, samples.astype(np.float32), sample_rate, **options)
    return path


@pytest.fixture(scope="session")
def make_song():
    """`write_song`, for tests that want other songs."""
    return write_song
