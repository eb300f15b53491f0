"""Separating: exact lengths, stems that sum to the song, windows that leave no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frametx import Separator, load_model
from frametx.errors import AudioError, UsageError
from frametx.outputs import Stem
from frametx.separate import separate_blocks, survey_song
from frametx.song_samples import ArraySong
from frametx.windows import WindowOptions

VOCALS, INSTRUMENTAL = Stem.VOCALS, Stem.INSTRUMENTAL


def noise(channels: int, n_samples: int) -> np.ndarray:
    return (np.random.default_rng(n_samples).standard_normal((channels, n_samples)) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def separator(tiny_checkpoint):
    return Separator(tiny_checkpoint, device="cpu", precision="fp32")


@pytest.mark.parametrize("n_samples", [1, 127, 128, 129, 30_011])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [44_100, 48_000, 22_050])
def test_stems_have_the_songs_length_and_sum_to_it(separator, n_samples, channels, sample_rate):
    """Whatever the length, the channels and the rate, instrumental + vocals is the input to float32 rounding."""
    mix = noise(channels, n_samples)
    stems = separator.separate_array(mix, sample_rate)
    assert stems[VOCALS].shape == stems[INSTRUMENTAL].shape == mix.shape
    np.testing.assert_allclose(stems[VOCALS] + stems[INSTRUMENTAL], mix, atol=1e-7)
    if n_samples > 1000:
        assert np.abs(stems[VOCALS]).max() > 0.01


def test_silence_passes_through_as_silence(separator):
    """A silent song has silent stems, not NaN."""
    stems = separator.separate_array(np.zeros((2, 5000), dtype=np.float32))
    assert not stems[VOCALS].any()
    assert not stems[INSTRUMENTAL].any()


def test_a_song_as_one_window_equals_the_direct_computation(separator, tiny_checkpoint):
    """The stream around the network computes mask x mix of the whole-song STFT, nothing else."""
    mix = noise(2, 128 * 60)
    window = torch.hann_window(256)
    spectrum = torch.stft(
        torch.from_numpy(mix), 256, 128, window=window, center=True, pad_mode="constant", return_complex=True
    )
    magnitude = spectrum.abs()[None] / spectrum.abs().max()
    with torch.inference_mode():
        mask = torch.sigmoid(load_model(tiny_checkpoint)(magnitude[:, :, :-1]))[0]
    mask = torch.cat([mask, mask[:, -1:]], dim=1)
    expected = torch.istft(mask * spectrum, 256, 128, window=window)
    np.testing.assert_allclose(separator.separate_array(mix)[INSTRUMENTAL], expected.numpy(), atol=1e-5)


def test_frames_may_overlap_by_three_quarters(tiny_mini):
    """A network whose hop is a quarter of its window gets the song in such frames, and the mask is applied to these."""
    mix = noise(2, 64 * 100)
    framing = {"n_fft": 256, "hop_length": 64, "window": torch.hann_window(256)}
    spectrum = torch.stft(torch.from_numpy(mix), **framing, pad_mode="constant", return_complex=True)
    left, right = spectrum
    magnitude = torch.stack([left, right, (left + right) / 2, (left - right) / 2]).abs()[None] / spectrum.abs().max()
    with torch.inference_mode():
        mask = torch.sigmoid(load_model(tiny_mini)(magnitude[:, :, :-1]))[0]
    mask = torch.cat([mask, mask[:, -1:]], dim=1)
    expected = torch.istft(mask * spectrum, **framing)
    stems = Separator(tiny_mini, device="cpu", precision="fp32").separate_array(mix)
    np.testing.assert_allclose(stems[INSTRUMENTAL], expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(stems[VOCALS] + stems[INSTRUMENTAL], mix, atol=1e-7)


def test_models_with_different_frames_are_no_ensemble(tiny_checkpoint, tiny_mini):
    """Masks of different sizes cannot be joined, and the message names the sizes."""
    with pytest.raises(UsageError, match=r"window/hop: 256/64, 256/128"):
        Separator([tiny_checkpoint, tiny_mini])


def test_levels_do_not_matter(separator):
    """A song ten times as loud has stems ten times as loud: networks see magnitudes divided by the song's peak."""
    mix = noise(2, 20_000)
    quiet, loud = separator.separate_array(mix), separator.separate_array(10 * mix)
    np.testing.assert_allclose(loud[VOCALS], 10 * quiet[VOCALS], atol=1e-5)


@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_the_batch_size_changes_nothing(tiny_checkpoint, batch_size):
    """Windows computed together give what they give alone."""
    mix = noise(2, 30_000)
    alone, together = (
        Separator(
            tiny_checkpoint, precision="fp32", windows=WindowOptions(crop=32, context=8, batch_size=size)
        ).separate_array(mix)
        for size in (1, batch_size)
    )
    np.testing.assert_allclose(together[VOCALS], alone[VOCALS], atol=1e-5)


@pytest.mark.parametrize("block_size", [1000, 4096, 100_000])
def test_the_size_of_the_blocks_read_changes_nothing(separator, block_size):
    """However the file is read, the stems are the same."""

    class BlockSong(ArraySong):
        def blocks(self):
            for start in range(0, self.samples.shape[1], block_size):
                yield self.samples[:, start : start + block_size]

    mix = noise(2, 50_000)
    song = BlockSong(samples=mix, sample_rate=44_100)
    survey = survey_song(song, [separator.framing])
    vocals = np.concatenate(
        [stems.vocals for stems in separate_blocks(song, survey, separator.maskers, separator.windows)], axis=1
    )
    np.testing.assert_allclose(vocals, separator.separate_array(mix)[VOCALS], atol=1e-6)


def test_cross_faded_windows_leave_no_jump(tiny_checkpoint):
    """At the borders of windows the vocals of a steady tone jump no more than elsewhere."""
    time = np.arange(60_000) / 44_100
    mix = np.stack([np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 441 * time)]).astype(np.float32)
    windows = WindowOptions(crop=50, context=16)
    vocals = Separator(tiny_checkpoint, windows=windows).separate_array(mix)[VOCALS]
    steps = np.abs(np.diff(vocals[:, 2000:-2000]))
    assert steps.max() <= 1.5 * np.quantile(steps, 0.99)


@pytest.mark.parametrize("options", [{"context": 0}, {"original": True}])
def test_a_song_may_end_just_behind_a_window_of_the_grid(tiny_checkpoint, options):
    """Then the last window owns only the frame that extends the song, which the network doesn't see."""
    mix = noise(2, 16 * 128 - 127)
    windows = WindowOptions(crop=8, **options)
    stems = Separator(tiny_checkpoint, device="cpu", precision="fp32", windows=windows).separate_array(mix)
    np.testing.assert_allclose(stems[VOCALS] + stems[INSTRUMENTAL], mix, atol=1e-7)


def test_a_song_that_changes_between_the_passes_is_refused(separator):
    """The peak of one song is not used for another."""
    short, long = (ArraySong(samples=noise(2, n), sample_rate=44_100) for n in (5000, 6000))
    with pytest.raises(AudioError, match="changed while it was being read"):
        list(separate_blocks(long, survey_song(short, [separator.framing]), separator.maskers, separator.windows))


@pytest.mark.parametrize("mix", [np.zeros((3, 100)), np.zeros((2, 0)), np.full((2, 10), np.nan), np.zeros((1, 2, 3))])
def test_arrays_that_are_no_songs_are_refused(separator, mix):
    """More than two channels, no samples and NaN each get a message."""
    with pytest.raises(AudioError):
        separator.separate_array(mix)


def test_any_view_of_samples_is_a_song(separator):
    """Swapped channels, reversed time and arrays that may not be written to are separated as their copies are."""
    mix = noise(2, 3000)
    mix.flags.writeable = False
    for view in (mix, mix[::-1], mix[:, ::-1], np.broadcast_to(mix[0], (2, 3000))):
        np.testing.assert_array_equal(
            separator.separate_array(view)[VOCALS], separator.separate_array(view.copy())[VOCALS]
        )


@pytest.mark.parametrize("sample_rate", [0, -44_100, 44_100.5, float("nan")])
def test_a_rate_that_is_none_is_refused(separator, sample_rate):
    """With a message of ours and not the resampler's; a whole number may be a float."""
    with pytest.raises(AudioError, match="no sample rate"):
        separator.separate_array(noise(1, 300), sample_rate)
    assert separator.separate_array(noise(1, 300), 48_000.0)[VOCALS].shape == (1, 300)


def test_another_default_type_of_torch_changes_nothing(separator):
    """As a notebook may have set it: the stems are float32, and the same."""
    mix = noise(2, 3000)
    expected = separator.separate_array(mix)[VOCALS]
    torch.set_default_dtype(torch.float64)
    try:
        vocals = separator.separate_array(mix)[VOCALS]
    finally:
        torch.set_default_dtype(torch.float32)
    assert vocals.dtype == np.float32
    np.testing.assert_array_equal(vocals, expected)


def test_one_dimension_is_one_channel(separator):
    """A plain array of samples comes back in its own shape."""
    assert separator.separate_array(noise(1, 3000)[0])[VOCALS].shape == (3000,)


@pytest.mark.parametrize("values", [{"crop": 0}, {"context": -1}, {"batch_size": 0}, {"tta": True, "crop": 64}])
def test_windows_that_cannot_be_meant_are_refused(values):
    """Sizes below their least, and --crop together with --tta, get a usage error."""
    with pytest.raises(UsageError):
        WindowOptions(**values)


def test_progress_ends_at_one(separator):
    """The callback sees both stages, never goes back, and ends with 1."""
    seen: list[tuple[str, float]] = []
    separator.separate_array(noise(2, 300_000), progress=lambda stage, done: seen.append((stage, done)))
    for stage in ("survey", "separate"):
        values = [done for name, done in seen if name == stage]
        assert values == sorted(values)
        assert values[-1] == 1.0
