"""A toy set of recordings and a config that trains a tiny network on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE = 44100
CONFIG = """
output = "run"
log_steps = {log_steps}
checkpoint_steps = {checkpoint_steps}
{top}

[network]
architecture = "{architecture}"
sizes = {sizes}

[data]
instrumentals = ["instrumentals"]
vocals = ["vocals"]
pairs = ["pairs"]
workers = 0

[optimiser]
learning_rate = {learning_rate}
warmup_steps = 5
{optimiser}

[loss]
{loss}

[validation]
pairs = "pairs"
every_steps = {validate}
window_seconds = 2.0

[[stages]]
steps = {steps}
frames = {frames}
batch = {batch}
{more}
"""
TINY = "{ channels = [8, 8, 8], maps = [2, 2, 2], hidden = [16, 16, 16], heads = 2, n_fft = 256 }"


def drums(seconds: float, seed: int) -> np.ndarray:
    """Clicks of low noise, four a second: stereo `[n, 2]`."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    noise = np.cumsum(rng.standard_normal((n, 2)), axis=0)
    noise -= np.convolve(noise.mean(axis=1), np.ones(500) / 500, mode="same")[:, None]
    envelope = np.exp(-(np.arange(n) % (RATE // 4)) / 2000.0)[:, None]
    return 0.3 * noise * envelope / np.abs(noise).max()


def singing(seconds: float, seed: int) -> np.ndarray:
    """A harmonic tone with vibrato, the same in both channels: `[n, 2]`."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * 220 * 2 ** rng.uniform(0, 1) * t + 3 * np.sin(2 * np.pi * 5 * t)
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    return np.repeat(0.1 * tone[:, None], 2, axis=1)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of instrumentals, vocals and pairs, in all about a minute."""
    folder = tmp_path_factory.mktemp("toy")
    for name in ("instrumentals", "vocals", "pairs"):
        (folder / name).mkdir()
    for i in range(2):
        soundfile.write(folder / "instrumentals" / f"{i}.wav", drums(10, i), RATE)
        soundfile.write(folder / "vocals" / f"{i}.wav", singing(10, i), RATE)
    soundfile.write(folder / "pairs" / "song_instrumental.wav", drums(6, 7), RATE)
    soundfile.write(folder / "pairs" / "song_vocals.wav", singing(6, 7), RATE)
    return folder


@pytest.fixture
def write_config(recordings: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a config of a toy training into the test's own folder; keywords replace its values."""

    def write(name: str = "toy", **changes: object) -> Path:
        values = {
            "top": "",
            "architecture": "mini",
            "sizes": TINY,
            "learning_rate": 3e-3,
            "optimiser": "",
            "loss": "",
            "validate": 0,
            "steps": 4,
            "frames": 64,
            "batch": 2,
            "more": "",
            "log_steps": 1,
            "checkpoint_steps": 100,
        }
        path = tmp_path / name / "toy.toml"
        path.parent.mkdir(exist_ok=True)
        for folder in ("instrumentals", "vocals", "pairs"):
            link = path.parent / folder
            if not link.exists():
                link.symlink_to(recordings / folder)
        path.write_text(CONFIG.format(**(values | changes)), encoding="utf-8")
        return path

    return write
