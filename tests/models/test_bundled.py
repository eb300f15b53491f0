"""The weights in the package do what they are there for, on eight seconds of a song they were not trained on.

`potassium_*.ogg` in tests/data is an excerpt of "Potassium" from Everything is Free (Software-Entwicklungskit), CC0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import frametx.models
from frametx.masker import Masker
from frametx.models.checkpoint import load_network
from frametx.models.network import Network
from frametx.pairs import find_pairs, read_pair

DATA = Path(__file__).parent.parent / "data"
WEIGHTS = Path(frametx.models.__file__).parent / "mini.safetensors"


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(WEIGHTS)


@pytest.fixture(scope="module")
def song() -> tuple[np.ndarray, np.ndarray]:
    (pair,) = find_pairs(DATA)
    return read_pair(pair)


def removed(network: Network, mix: np.ndarray) -> np.ndarray:
    """What the network takes for vocals."""
    n_fft, hop = network.framing.n_fft, network.framing.hop
    window = torch.hann_window(n_fft)
    wave = torch.from_numpy(mix[:, : mix.shape[1] // hop * hop])
    spectrum = torch.stft(wave, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    feeder = Masker(name="mini", network=network, device=torch.device("cpu")).feeder(float(spectrum.abs().max()))
    with torch.inference_mode():
        mask = feeder(spectrum[None, :, :-1], torch.ones(1, spectrum.shape[-1], dtype=torch.bool))[0]
    mask = torch.cat([mask, mask[:, -1:]], dim=1)
    return torch.istft((1 - mask) * spectrum, n_fft, hop, window=window, length=wave.shape[1]).numpy()


def decibel(energy: np.ndarray, other: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(energy).sum() / np.square(other).sum()))


def test_the_weights_are_small():
    """They stay below what a wheel should carry."""
    assert WEIGHTS.stat().st_size < 16e6


def test_they_are_mini(network):
    """The file is recognised by its tensors."""
    assert network.architecture == "mini"


def test_a_voice_is_found(network, song):
    """The vocals come out better than any threshold a careless change would leave intact."""
    instrumental, vocals = song
    found = removed(network, instrumental + vocals)
    n = found.shape[1]
    assert decibel(vocals[:, :n], found - vocals[:, :n]) > 4


def test_music_without_a_voice_stays(network, song):
    """Of the instrumental alone next to nothing is taken away."""
    instrumental, _ = song
    found = removed(network, instrumental)
    assert decibel(found, instrumental[:, : found.shape[1]]) < -20


def test_silence_is_no_trouble(network):
    """Digital silence gives a finite mask."""
    with torch.inference_mode():
        assert torch.isfinite(network(torch.zeros(1, 4, network.n_bins, 8))).all()
