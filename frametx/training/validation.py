"""Validation during training, by the code of `frametx evaluate`."""

from __future__ import annotations

from math import inf
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from frametx.audio.reader import SongReader
from frametx.errors import AudioError
from frametx.evaluate import Windows, evaluate_pairs, summarise
from frametx.masker import Masker
from frametx.pairs import find_pairs
from frametx.separate import separate_blocks, survey_song
from frametx.song_samples import ArraySong
from frametx.spectrum import SAMPLE_RATE
from frametx.windows import WindowOptions

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from frametx.models.network import Network
    from frametx.song_samples import Samples
    from frametx.training.config import TrainingConfig, ValidationConfig

NAME = "network"


def check_songs(config: ValidationConfig) -> None:
    """Look at the validation songs before a training, which would be stopped by them hundreds of steps later.

    Raises:
        AudioError: There are none, one cannot be read, or none is as long as a window.
    """
    assert config.pairs is not None
    lengths = [
        max(_seconds(path) for path in (*pair.instrumental, *([pair.vocals] if pair.vocals else [])))
        for pair in find_pairs(config.pairs)
    ]
    if max(lengths) < config.window_seconds:
        raise AudioError(
            f"{config.pairs} holds no song as long as a window of validation, {config.window_seconds:g} s",
            f"the longest has {max(lengths):.1f} s: set a lower validation.window_seconds",
        )


def _seconds(path: Path) -> float:
    with SongReader(path) as reader:
        return inf if reader.n_samples is None else reader.n_samples / reader.sample_rate


def shared_with_training(config: TrainingConfig) -> list[Path]:
    """Folders of the training that hold validation songs, or lie among them: what is measured there was learnt."""
    assert config.validation.pairs is not None
    judged = config.validation.pairs.resolve()
    data = config.data
    folders = [source.folder for source in (*data.instrumentals, *data.vocals, *data.pairs) if source.weight]
    resolved = [(folder, folder.resolve()) for folder in folders]
    return [
        folder for folder, whole in resolved if whole == judged or whole in judged.parents or judged in whole.parents
    ]


def validate(network: Network, config: ValidationConfig, device: torch.device) -> dict[str, float]:
    """Measure a network on the validation songs.

    Returns:
        SDR and gain over the mixture of both stems, means over the songs, dB; `gain` is the mean of both gains.

    Raises:
        AudioError: The songs cannot be found or read.
    """
    assert config.pairs is not None
    windows = Windows(seconds=config.window_seconds, vocals_db=config.vocals_db, most=config.windows_per_song)

    def separate(mix: Samples) -> tuple[Samples, Samples]:
        return separate_with(network, mix, device)

    mean = summarise(list(evaluate_pairs(find_pairs(config.pairs), {NAME: separate}, windows)))[NAME]["mean"]
    figures = {
        f"{stem}_{name}": mean[stem][name]
        for stem in ("instrumental", "vocals")
        for name in ("sdr", "gain")
        if mean[stem][name] is not None
    }
    gains = [value for name, value in figures.items() if name.endswith("gain")]
    return figures | {"gain": fmean(gains) if gains else 0.0}


def separate_with(network: Network, mix: Samples, device: torch.device) -> tuple[Samples, Samples]:
    """Separate samples `[2 n]` at 44.1 kHz with a network that is in memory."""
    masker = Masker(name=NAME, network=network, device=device)
    song = ArraySong(samples=mix, sample_rate=SAMPLE_RATE)
    survey = survey_song(song, [network.framing])
    stretches = list(separate_blocks(song, survey, [masker], WindowOptions()))
    vocals = np.concatenate([stems.vocals for stems in stretches], axis=1)
    return mix - vocals, vocals
