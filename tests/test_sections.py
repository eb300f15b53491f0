"""Separating sections: the context they get, and networks that feed on their own past."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from frametx import Separator
from frametx.audio.reader import SongReader
from frametx.models.network import Feeding
from frametx.sections import separate_span, span_with_context
from frametx.splice import Span
from frametx.windows import WindowOptions
from tests.stand_in import StandIn

RATE = 44_100
HOP = 128
WINDOW = 256


class Remembers(StandIn):
    """A stand-in for an autoregressive network: what it takes for vocals depends on its last two windows."""

    feeding = Feeding.HISTORY

    def __init__(self) -> None:
        super().__init__(in_channels=10, out_channels=2, n_fft=2 * HOP)

    def fitting_width(self, width):
        return -(-width // 64) * 64

    def logits(self, x):
        past = x[:, [2, 6]].mean(dim=(1, 2, 3), keepdim=True)
        return 30.0 * (past - 0.12) + 0.0 * x[:, :2]


@pytest.fixture
def autoregressive(tiny_checkpoint):
    windows = WindowOptions(crop=WINDOW, context=0)
    separator = Separator(tiny_checkpoint, device="cpu", precision="fp32", windows=windows)
    separator.maskers[0].network = Remembers()
    return separator


@pytest.fixture
def song(tmp_path):
    """Six seconds of noise that grows louder and softer."""
    time = np.arange(6 * RATE) / RATE
    samples = np.random.default_rng(6).uniform(-0.4, 0.4, (2, len(time))) * (
        0.55 + 0.45 * np.sin(2 * np.pi * time / 2.3)
    )
    soundfile.write(tmp_path / "song.wav", samples.T, RATE, subtype="FLOAT")
    return tmp_path / "song.wav"


def vocals_of(separator, song, span):
    with SongReader(song) as reader:
        survey = separator.survey(reader)
    blocks = separate_span(separator, song, span, n_samples=survey.n_samples, peaks=survey.peaks)
    return np.concatenate(list(blocks), axis=1)


def test_a_network_with_a_memory_builds_it_up_before_the_section(autoregressive, song, monkeypatch):
    """A section late in the song is what a run over the whole song gives; without its past it would not be."""
    span = Span(start=4 * RATE, stop=5 * RATE)
    whole = vocals_of(autoregressive, song, Span(start=0, stop=6 * RATE))[:, span.start : span.stop]
    loudness = np.abs(whole).max()
    assert loudness > 0.01
    np.testing.assert_allclose(vocals_of(autoregressive, song, span), whole, atol=0.01 * loudness)
    monkeypatch.setattr("frametx.sections.HISTORY_WINDOWS", 0)
    assert np.abs(vocals_of(autoregressive, song, span) - whole).max() > 0.1 * loudness


def test_windows_on_a_grid_stay_on_the_songs_grid(autoregressive):
    """What is read begins and ends with a window, two windows before the section's own."""
    windows = WindowOptions(crop=WINDOW, context=0)
    seen = span_with_context(Span(start=700 * HOP, stop=800 * HOP), autoregressive.networks, windows, 4000 * HOP, RATE)
    assert seen.start == 0 * WINDOW * HOP
    assert seen.stop == (4 * WINDOW - 1) * HOP
    late = span_with_context(
        Span(start=2000 * HOP, stop=2100 * HOP), autoregressive.networks, windows, 4000 * HOP, RATE
    )
    assert late.start == 5 * WINDOW * HOP


def test_a_section_in_frames_that_overlap_more_is_the_whole_songs(tiny_mini, song):
    """With a hop of a quarter of the window, too, a section is what a run over the whole song gives."""
    windows = WindowOptions(crop=WINDOW, context=32)
    separator = Separator(tiny_mini, device="cpu", precision="fp32", windows=windows)
    span = Span(start=3 * RATE, stop=4 * RATE)
    whole = vocals_of(separator, song, Span(start=0, stop=6 * RATE))[:, span.start : span.stop]
    loudness = np.abs(whole).max()
    assert loudness > 0.01
    np.testing.assert_allclose(vocals_of(separator, song, span), whole, atol=0.01 * loudness)


@pytest.mark.parametrize("sample_rate", [22_050, 44_100, 48_000])
def test_a_section_sees_its_context_and_no_more(tiny_checkpoint, sample_rate):
    """A hundred frames of context are a hundred frames read on either side, at any rate."""
    separator = Separator(tiny_checkpoint, device="cpu", precision="fp32")
    span = Span(start=10 * sample_rate, stop=12 * sample_rate)
    seen = span_with_context(span, separator.networks, WindowOptions(context=100), 60 * sample_rate, sample_rate)
    expected = 100 * HOP / RATE * sample_rate
    assert span.start - seen.start == pytest.approx(expected, abs=3 * HOP)
    assert seen.stop - span.stop == pytest.approx(expected, abs=3 * HOP)


def test_a_section_near_the_ends_sees_what_there_is(tiny_checkpoint):
    """Context never reaches outside the song."""
    separator = Separator(tiny_checkpoint, device="cpu", precision="fp32")
    seen = span_with_context(Span(start=5, stop=9000), separator.networks, WindowOptions(), 10_000, RATE)
    assert (seen.start, seen.stop) == (0, 10_000)
